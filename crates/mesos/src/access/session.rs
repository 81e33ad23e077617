//! One token for all requests: who logs in, when, and when not.
//!
//! At most one login is under way, and whoever needs a token waits for that one. It runs
//! by itself, so that it outlives a request that had less time. A token is renewed well
//! before it ends, while requests go on with it; that a renewal fails then costs nothing
//! yet. After a login that failed, or whose token Mesos refused at once, there is a pause,
//! which doubles; a request in it fails with what was the matter, without asking anybody.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use futures::{
    FutureExt as _,
    future::{BoxFuture, Shared},
};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;
use tracing::warn;

use super::{
    AccessError,
    account::{Account, LoginError, Token},
};
use crate::client::shown;

/// The pause after the first failure: about what a restart of a login service takes at
/// its shortest. It doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// No pause is longer, so that a login service that is back is noticed within a few
/// scrapes; a cluster of 10 000 nodes then makes fewer than 200 attempts a second.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// A token is renewed when this part of its life is left: of five days more than one,
/// in which a login service may be away without being missed.
const LEFT_FOR_RENEWAL: u32 = 4;

type Outcome = Result<Arc<Token>, Arc<LoginError>>;
/// A login that is under way, for as many as want to wait for it.
type Attempt = Shared<BoxFuture<'static, Outcome>>;

impl Token {
    fn has_ended(&self, now: Instant) -> bool {
        now >= self.came + self.life
    }

    fn is_due(&self, now: Instant) -> bool {
        now >= self.came + (self.life - self.life / LEFT_FOR_RENEWAL)
    }
}

/// The tokens of one account.
pub(super) struct Session {
    account: Arc<Account>,
    state: Mutex<State>,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("account", &self.account).finish_non_exhaustive()
    }
}

impl Session {
    pub(super) fn new(account: Account) -> Self {
        Self { account: Arc::new(account), state: Mutex::default() }
    }

    pub(super) fn account(&self) -> &Account {
        &self.account
    }

    /// A token that has not ended.
    pub(super) async fn token(&self, http: &reqwest::Client) -> Result<Arc<Token>, AccessError> {
        let next = self.state().token(Instant::now(), || self.log_in(http));
        self.follow(next).await
    }

    /// What to try after Mesos has refused `token`: another one, or `None` where its
    /// refusal has to stand.
    pub(super) async fn instead_of(
        &self,
        token: &Arc<Token>,
        http: &reqwest::Client,
    ) -> Result<Option<Arc<Token>>, AccessError> {
        let next = self.state().instead_of(token, Instant::now(), || self.log_in(http));
        match next {
            Some(next) => self.follow(next).await.map(Some),
            None => Ok(None),
        }
    }

    async fn follow(&self, next: Next) -> Result<Arc<Token>, AccessError> {
        let outcome = match next {
            Next::Use(token) => Ok(token),
            Next::Wait(attempt) => {
                let outcome = attempt.await;
                self.state().settle(Instant::now());
                outcome
            }
            Next::Rest(rest) => Err(rest.why),
        };
        outcome.map_err(|source| AccessError::Login {
            endpoint: shown(self.account.endpoint()),
            source,
        })
    }

    fn log_in(&self, http: &reqwest::Client) -> Attempt {
        let (account, http) = (Arc::clone(&self.account), http.clone());
        let login =
            AbortOnDropHandle::new(tokio::spawn(async move { account.log_in(&http).await }));
        let outcome = login.map(|ended| match ended {
            Ok(login) => login.map(Arc::new).map_err(Arc::new),
            Err(_) => Err(Arc::new(LoginError::BrokenOff)),
        });
        outcome.boxed().shared()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of this lock panics")
    }
}

/// What a request does to have a token.
enum Next {
    Use(Arc<Token>),
    Wait(Attempt),
    Rest(Rest),
}

/// No login until then, and why.
#[derive(Clone)]
struct Rest {
    until: Instant,
    why: Arc<LoginError>,
}

#[derive(Default)]
struct State {
    token: Option<Arc<Token>>,
    attempt: Option<Attempt>,
    rest: Option<Rest>,
    /// Failures in a row, which the next pause follows from.
    failures: u32,
    /// Whether the attempt was made because Mesos refused a token that had just come.
    /// Another of the same login would hardly fare better, so it counts as a failure.
    was_refused_young: bool,
}

impl State {
    fn token(&mut self, now: Instant, log_in: impl FnOnce() -> Attempt) -> Next {
        self.settle(now);
        let Some(token) = self.token.clone().filter(|token| !token.has_ended(now)) else {
            return self.obtain(now, log_in);
        };
        if token.is_due(now) && self.attempt.is_none() && self.rest(now).is_none() {
            self.attempt = Some(log_in());
        }
        Next::Use(token)
    }

    fn instead_of(
        &mut self,
        refused: &Arc<Token>,
        now: Instant,
        log_in: impl FnOnce() -> Attempt,
    ) -> Option<Next> {
        self.settle(now);
        if let Some(token) = self.token.as_ref().filter(|token| !Arc::ptr_eq(token, refused)) {
            return Some(Next::Use(Arc::clone(token)));
        }
        if self.attempt.is_none() {
            if self.rest(now).is_some() {
                return None;
            }
            self.was_refused_young = now.duration_since(refused.came) < LONGEST_PAUSE;
        }
        Some(self.obtain(now, log_in))
    }

    fn obtain(&mut self, now: Instant, log_in: impl FnOnce() -> Attempt) -> Next {
        if let Some(attempt) = &self.attempt {
            return Next::Wait(attempt.clone());
        }
        if let Some(rest) = self.rest(now) {
            return Next::Rest(rest);
        }
        let attempt = log_in();
        self.attempt = Some(attempt.clone());
        Next::Wait(attempt)
    }

    fn rest(&self, now: Instant) -> Option<Rest> {
        self.rest.clone().filter(|rest| now < rest.until)
    }

    /// Takes over what came of an attempt that has ended. Nothing else does: an attempt
    /// may end while nobody waits for it.
    fn settle(&mut self, now: Instant) {
        let ended = self.attempt.as_ref().and_then(|attempt| attempt.clone().now_or_never());
        let Some(outcome) = ended else { return };
        self.attempt = None;
        let was_refused_young = std::mem::take(&mut self.was_refused_young);
        match outcome {
            Ok(token) => {
                self.token = Some(token);
                if was_refused_young {
                    self.pause(now, Arc::new(LoginError::TokenRefused));
                } else {
                    self.failures = 0;
                    self.rest = None;
                }
            }
            Err(why) => {
                if self.token.as_ref().is_some_and(|token| !token.has_ended(now)) {
                    // No request fails, so that nobody else would say so.
                    warn!(
                        error = chain(why.as_ref()),
                        "Logging in anew failed; the former token still serves"
                    );
                }
                self.pause(now, why);
            }
        }
    }

    fn pause(&mut self, now: Instant, why: Arc<LoginError>) {
        let doubled = FIRST_PAUSE.saturating_mul(1 << self.failures.min(u32::BITS - 1));
        self.failures = self.failures.saturating_add(1);
        self.rest = Some(Rest { until: now + doubled.min(LONGEST_PAUSE), why });
    }
}

/// An error and its causes on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::authorization::Authorization;

    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    fn token(came: Instant, life: Duration) -> Arc<Token> {
        let authorization = Authorization::dcos("t").unwrap();
        Arc::new(Token { authorization, came, life })
    }

    fn ended(outcome: Outcome) -> Attempt {
        async move { outcome }.boxed().shared()
    }

    fn failed() -> Attempt {
        ended(Err(Arc::new(LoginError::NoToken)))
    }

    fn under_way() -> Attempt {
        std::future::pending().boxed().shared()
    }

    fn never() -> Attempt {
        panic!("nobody was to log in")
    }

    /// How long it rests after what it has just been told.
    fn pause(state: &mut State, now: Instant) -> Duration {
        match state.token(now, never) {
            Next::Rest(rest) => rest.until - now,
            Next::Use(_) | Next::Wait(_) => panic!("it does not rest"),
        }
    }

    #[test]
    fn a_token_is_renewed_in_its_last_quarter_and_used_meanwhile() {
        let start = Instant::now();
        let mut state = State { token: Some(token(start, 4 * DAY)), ..State::default() };
        let before = start + 3 * DAY - Duration::from_secs(1);
        assert!(matches!(state.token(before, never), Next::Use(_)));
        assert!(matches!(state.token(start + 3 * DAY, under_way), Next::Use(_)));
        assert!(matches!(state.token(start + 3 * DAY, never), Next::Use(_)), "one is enough");
        // Its end is no time to use it any more, and the login is waited for.
        assert!(matches!(state.token(start + 4 * DAY, never), Next::Wait(_)));
    }

    #[test]
    fn a_renewal_that_fails_leaves_the_token_in_use_and_is_tried_again() {
        let start = Instant::now();
        let mut state = State { token: Some(token(start, 4 * DAY)), ..State::default() };
        let due = start + 3 * DAY;
        assert!(matches!(state.token(due, failed), Next::Use(_)));
        assert!(matches!(state.token(due, never), Next::Use(_)), "it pauses");
        let new = token(due + FIRST_PAUSE, 4 * DAY);
        let login = ended(Ok(Arc::clone(&new)));
        assert!(matches!(state.token(due + FIRST_PAUSE, || login), Next::Use(_)));
        let Next::Use(used) = state.token(due + FIRST_PAUSE, never) else { panic!() };
        assert!(Arc::ptr_eq(&used, &new));
    }

    #[test]
    fn the_pause_doubles_up_to_a_minute_and_a_success_ends_it() {
        let mut now = Instant::now();
        let mut state = State::default();
        for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
            assert!(matches!(state.token(now, failed), Next::Wait(_)));
            assert_eq!(pause(&mut state, now).as_secs(), seconds);
            now += Duration::from_secs(seconds);
        }
        state.failures = u32::MAX;
        assert!(matches!(state.token(now, failed), Next::Wait(_)));
        assert_eq!(pause(&mut state, now), LONGEST_PAUSE);
        now += LONGEST_PAUSE;
        let login = ended(Ok(token(now, DAY)));
        assert!(matches!(state.token(now, || login), Next::Wait(_)));
        assert!(matches!(state.token(now, never), Next::Use(_)));
        assert!(matches!(state.token(now + DAY, failed), Next::Wait(_)));
        assert_eq!(pause(&mut state, now + DAY), FIRST_PAUSE);
    }

    #[test]
    fn a_refused_token_is_replaced_once_by_whoever_comes_first() {
        let now = Instant::now();
        let (old, new) = (token(now, DAY), token(now, DAY));
        let mut state = State { token: Some(Arc::clone(&old)), ..State::default() };
        assert!(matches!(state.instead_of(&old, now, under_way), Some(Next::Wait(_))));
        assert!(matches!(state.instead_of(&old, now, never), Some(Next::Wait(_))));
        state.attempt = Some(ended(Ok(Arc::clone(&new))));
        // Whoever is refused with the old one only now takes the new one.
        let Some(Next::Use(used)) = state.instead_of(&old, now, never) else { panic!() };
        assert!(Arc::ptr_eq(&used, &new));
    }

    #[test]
    fn tokens_that_are_refused_as_soon_as_they_come_are_not_asked_for_again_and_again() {
        let mut now = Instant::now();
        let mut state = State { token: Some(token(now, DAY)), ..State::default() };
        for seconds in [1, 2, 4] {
            let refused = state.token.clone().unwrap();
            let login = ended(Ok(token(now, DAY)));
            assert!(matches!(state.instead_of(&refused, now, || login), Some(Next::Wait(_))));
            state.settle(now);
            let fresh = state.token.clone().unwrap();
            now += Duration::from_secs(seconds) - Duration::from_millis(1);
            assert!(state.instead_of(&fresh, now, never).is_none(), "its refusal stands");
            now += Duration::from_millis(1);
        }
        // One that has served for a while was refused for another reason.
        let refused = state.token.clone().unwrap();
        now += LONGEST_PAUSE;
        let login = ended(Ok(token(now, DAY)));
        assert!(matches!(state.instead_of(&refused, now, || login), Some(Next::Wait(_))));
        state.settle(now);
        assert_eq!((state.failures, state.rest.is_some()), (0, false));
    }
}
