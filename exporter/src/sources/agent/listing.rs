//! The list of an agent's containers, from the best endpoint that it has.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures::FutureExt as _;
use satellite_mesos::{
    ClientError, endpoint, limits,
    wire::{
        containers::{PATH, STATISTICS_PATH, parse_containers, parse_get_containers},
        operator::{Call, Show},
    },
};
use url::Url;

use super::{Agent, Fetched};
use crate::{
    catalogue::Naming,
    families::Listing,
    groups::Groups,
    sources::{SourceError, decode},
};

/// An agent that lacks an endpoint is asked for it again after this long: it may have been
/// replaced by a newer one, or have answered so while it started.
const RECONSIDER: Duration = Duration::from_secs(10 * 60);

/// Where a list comes from, the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Endpoint {
    /// `GET_CONTAINERS` of the operator API: nested and standalone containers, too.
    Api,
    /// `/containers`: executors' containers.
    Containers,
    /// `/monitor/statistics`: those without their ids.
    Statistics,
}

/// What is known of the endpoints.
#[derive(Clone, Copy, Debug)]
pub(super) struct Best {
    endpoint: Endpoint,
    since: Instant,
}

/// An answer, and where it comes from.
#[derive(Debug)]
pub(super) struct Listed {
    pub(super) from: Endpoint,
    pub(super) answer: Fetched,
}

impl Endpoint {
    fn next(self) -> Option<Self> {
        match self {
            Self::Api => Some(Self::Containers),
            Self::Containers => Some(Self::Statistics),
            Self::Statistics => None,
        }
    }

    /// The numbers of `wanted` in an answer.
    pub(super) fn read(
        self,
        url: &Url,
        body: &[u8],
        wanted: Groups,
    ) -> Result<Listing, SourceError> {
        decode(url, body, |body| {
            let containers = match self {
                Self::Api => parse_get_containers(body)?,
                Self::Containers | Self::Statistics => parse_containers(body)?,
            };
            Ok(Listing::read(&containers, wanted))
        })
    }
}

impl Agent {
    /// The containers. mesos_exporter knows executors' containers only, and tells what
    /// `GET_CONTAINERS` does not: their source.
    pub(super) async fn listed(self: &Arc<Self>, naming: Naming) -> Arc<Listed> {
        let agent = Arc::clone(self);
        let first = match naming {
            Naming::Native => Endpoint::Api,
            Naming::MesosExporter => Endpoint::Containers,
        };
        let list = async move { Arc::new(agent.list(first).await) };
        self.lists.join(naming, || list.boxed()).await
    }

    async fn list(&self, first: Endpoint) -> Listed {
        let now = Instant::now();
        let best = self.known().best.filter(|best| now < best.since + RECONSIDER);
        let mut from = best.map_or(first, |best| best.endpoint);
        if from == Endpoint::Api {
            from = first;
        }
        loop {
            let answer = self.ask_for_list(from).await;
            let lacks_it = answer.body.as_ref().is_err_and(|error| lacks_endpoint(error));
            match from.next().filter(|_| lacks_it) {
                Some(next) => from = next,
                None => {
                    // Only what has answered is better than what has not.
                    let is_news = from != first && best.is_none_or(|best| best.endpoint != from);
                    if answer.body.is_ok() && is_news {
                        self.known().best = Some(Best { endpoint: from, since: now });
                    }
                    return Listed { from, answer };
                }
            }
        }
    }

    async fn ask_for_list(&self, from: Endpoint) -> Fetched {
        let Self { client, base, timeout, .. } = self;
        match from {
            Endpoint::Api => {
                let get_containers = Show { show_nested: true, show_standalone: true };
                let call = Call::GetContainers { get_containers };
                let answer = client.post_operator(base, &call, *timeout, limits::CONTAINERS);
                Fetched::measure(endpoint(base, "api/v1"), answer).await
            }
            Endpoint::Containers | Endpoint::Statistics => {
                if from == Endpoint::Statistics {
                    self.statistics_pace.turn().await;
                }
                let path = if from == Endpoint::Statistics { STATISTICS_PATH } else { PATH };
                let url = endpoint(base, path);
                let answer = client.get(&url, *timeout, limits::CONTAINERS);
                Fetched::measure(url.clone(), answer).await
            }
        }
    }
}

/// Whether an agent has answered that it does not have this endpoint or this call, or does
/// not let us in there: `/api/v1` is of the realm for reading and writing, the others of
/// the one for reading alone.
fn lacks_endpoint(error: &SourceError) -> bool {
    let SourceError::Fetch(ClientError::Status { status, .. }) = error else { return false };
    matches!(status, 400 | 401 | 403 | 404 | 405 | 501)
}
