//! Keeps web pages from commanding a daemon through the browser of whoever looks at them.
//!
//! Any page may have its reader's browser send a request anywhere: to the reader's own
//! machine, and through `ssh -L` to a daemon that listens on loopback elsewhere. The page
//! cannot read the answer, but a command is carried out all the same. The browser says in
//! `Origin` and `Sec-Fetch-Site` whose page it was. A page whose own name was made to point
//! to 127.0.0.1 (DNS rebinding) is no stranger to the browser, and gives itself away by
//! that name in `Host`.
//!
//! Programs such as curl, Alertmanager and Prometheus send neither of the first two.

use std::net::IpAddr;

use axum::{
    extract::Request,
    http::{HeaderMap, Method, StatusCode, header, uri::Authority},
    middleware::Next,
    response::Response,
};
use tracing::warn;

use crate::serve::json_error;

/// Refuses what a page of another site sends, unless it only asks. [`crate::serve::serve`]
/// has this around every router.
pub(crate) async fn refuse_other_sites(request: Request, next: Next) -> Response {
    let only_asks = matches!(*request.method(), Method::GET | Method::HEAD);
    if only_asks || is_of_this_site(request.headers()) {
        return next.run(request).await;
    }
    let why = "a web page of another site sent this, and no such page may command this daemon: \
               use a program such as curl, or drop the headers Origin and Sec-Fetch-Site";
    refuse(&request, why)
}

/// Refuses what was not sent to a name or an address of loopback: for a daemon that listens
/// there alone and believes whoever reaches it. For `axum::middleware::from_fn`.
pub async fn refuse_other_hosts(request: Request, next: Next) -> Response {
    // Only HTTP/1.0, which no browser speaks, may leave it out.
    let is_ours =
        request.headers().get(header::HOST).is_none_or(|host| host.to_str().is_ok_and(is_loopback));
    if is_ours {
        return next.run(request).await;
    }
    let why = "the request is for another host: this daemon has no authentication and answers \
               to localhost and the addresses of loopback alone, such as http://127.0.0.1";
    refuse(&request, why)
}

fn refuse(request: &Request, why: &str) -> Response {
    let said = |name| request.headers().get(name).map(|value| format!("{value:?}"));
    let (host, origin) = (said(header::HOST), said(header::ORIGIN));
    let (method, path) = (request.method().as_str(), request.uri().path());
    warn!(method, path, host, origin, "Refused a request that a web page may have sent");
    json_error(StatusCode::FORBIDDEN, why)
}

fn is_of_this_site(headers: &HeaderMap) -> bool {
    let said = |name| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let site_is_ours = said("sec-fetch-site").is_none_or(|it| matches!(it, "same-origin" | "none"));
    let host = said("host").unwrap_or_default();
    let is_ours = |origin: &str| {
        let (_, authority) = origin.split_once("://").unwrap_or_default();
        !authority.is_empty() && authority.eq_ignore_ascii_case(host)
    };
    site_is_ours && said("origin").is_none_or(is_ours)
}

/// Whether a `Host` is a name or an address of loopback, with any port.
fn is_loopback(host: &str) -> bool {
    let Ok(authority) = host.parse::<Authority>() else { return false };
    let name = authority.host().trim_start_matches('[').trim_end_matches(']');
    let is_address = |it: IpAddr| it.to_canonical().is_loopback();
    name.eq_ignore_ascii_case("localhost") || name.parse().is_ok_and(is_address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_and_addresses_of_loopback_are_loopback() {
        for host in ["localhost", "LocalHost:1", "127.0.0.1:5001", "127.9.8.7", "[::1]", "[::1]:1"]
        {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["", "evil.example:5001", "10.0.0.1", "localhost.evil.example", "[::2]:1", "::"]
        {
            assert!(!is_loopback(host), "{host}");
        }
    }

    #[test]
    fn a_page_is_of_this_site_where_its_origin_is_the_host() {
        let is_ours = |headers: &[(&'static str, &'static str)]| {
            let headers = headers.iter().map(|(name, value)| {
                (name.parse::<header::HeaderName>().unwrap(), value.parse().unwrap())
            });
            is_of_this_site(&headers.collect())
        };
        let host = ("host", "localhost:1");
        assert!(is_ours(&[]) && is_ours(&[host]));
        assert!(is_ours(&[host, ("origin", "http://LOCALHOST:1")]));
        assert!(is_ours(&[host, ("sec-fetch-site", "none")]));
        for origin in ["null", "", "http://localhost", "http://localhost:2", "http://evil.example"]
        {
            assert!(!is_ours(&[host, ("origin", origin)]), "{origin}");
        }
        assert!(!is_ours(&[("origin", "http://")]), "no host is no site");
        for site in ["cross-site", "same-site", ""] {
            assert!(!is_ours(&[host, ("sec-fetch-site", site)]), "{site}");
        }
    }
}
