//! `basic_auth_users`: who a request comes from, by name and password.
//!
//! A password is compared with its bcrypt hash, which is slow on purpose. So it is done once
//! for each that is right, one at a time, on a thread that may block, and what waits for that
//! is bounded: whoever sends wrong passwords without end keeps one thread busy and those whose
//! password is known already not at all. What is remembered of a right password is a keyed
//! hash, whose key never leaves this process.
//!
//! A name that is nobody's takes as long as a name that is somebody's.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    hash::{BuildHasher as _, RandomState},
    sync::{Arc, Mutex},
};

use axum::http::{HeaderMap, header};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bcrypt::HashParts;
use ring::{hmac, rand::SystemRandom};
use satellite_yaml::Complaints;
use tokio::sync::Semaphore;

/// Each user is a person or a program; more need a proxy that knows them.
const MAX_USERS: usize = 100;

/// Characters of a name, which the remediator records as the author of a command.
const MAX_NAME: usize = 64;

/// The lowest that bcrypt has, and the highest at which a password takes about a second:
/// everybody waits for the one that is being checked.
const COSTS: std::ops::RangeInclusive<u32> = 4..=14;

/// Passwords that may wait to be checked, beside the one that is. At the usual cost of 10
/// they are a second's work, and more than there are users who come at the same time.
const QUEUE: usize = 16;

/// The user that a request comes from: among its extensions, where there are users.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User(Arc<str>);

impl User {
    /// As the file has it.
    pub fn name(&self) -> &str {
        &self.0
    }
}

/// Why a request is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// No credentials, or wrong ones: which, nobody is told.
    Unknown,
    /// Too many wait already.
    Busy,
}

/// Everybody whom the file names.
pub(super) struct Users {
    /// Their bcrypt hashes.
    hashes: BTreeMap<String, Arc<str>>,
    /// Which hash a name is compared with that is nobody's.
    decoys: RandomState,
    key: hmac::Key,
    /// By name, the one right password: at most as many as there are users.
    known: Mutex<HashMap<String, hmac::Tag>>,
    turn: Arc<Semaphore>,
    places: Semaphore,
}

impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Users").field("names", &self.hashes.keys()).finish_non_exhaustive()
    }
}

impl Users {
    fn new(hashes: BTreeMap<String, Arc<str>>, key: hmac::Key) -> Self {
        Self {
            hashes,
            decoys: RandomState::new(),
            key,
            known: Mutex::default(),
            turn: Arc::new(Semaphore::new(1)),
            places: Semaphore::new(QUEUE + 1),
        }
    }

    /// The user whose name and password the headers have.
    pub(super) async fn recognise(&self, headers: &HeaderMap) -> Result<User, Refusal> {
        let Credentials { name, password } = credentials(headers).ok_or(Refusal::Unknown)?;
        let user = User(name.as_str().into());
        let mark = [name.as_bytes(), b":", &password].concat();
        if self.is_known(&name, &mark) {
            return Ok(user);
        }
        let _place = self.places.try_acquire().map_err(|_| Refusal::Busy)?;
        let turn = Arc::clone(&self.turn).acquire_owned().await;
        let turn = turn.expect("nobody closes this semaphore");
        // It may have been checked for another request meanwhile.
        if self.is_known(&name, &mark) {
            return Ok(user);
        }
        let (hash, exists) = self.hash_for(&name);
        // The turn goes with it: it is checked to its end also for a client that has left.
        let matches = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            bcrypt::verify(&password, &hash).unwrap_or(false)
        });
        if matches.await.unwrap_or(false) && exists {
            self.known().insert(name, hmac::sign(&self.key, &mark));
            return Ok(user);
        }
        Err(Refusal::Unknown)
    }

    fn is_known(&self, name: &str, mark: &[u8]) -> bool {
        let tag = self.known().get(name).copied();
        tag.is_some_and(|tag| hmac::verify(&self.key, mark, tag.as_ref()).is_ok())
    }

    /// What to compare the password with, and whether the name is anybody's. A name that is
    /// not has always the same other user's hash, so that the time which that takes tells
    /// nothing either where users have hashes of different cost.
    fn hash_for(&self, name: &str) -> (Arc<str>, bool) {
        if let Some(hash) = self.hashes.get(name) {
            return (Arc::clone(hash), true);
        }
        let users = self.hashes.len() as u64;
        let decoy = usize::try_from(self.decoys.hash_one(name) % users).unwrap_or(0);
        let hash = self.hashes.values().nth(decoy).expect("there is no `Users` without users");
        (Arc::clone(hash), false)
    }

    fn known(&self) -> std::sync::MutexGuard<'_, HashMap<String, hmac::Tag>> {
        self.known.lock().expect("no holder of this lock panics")
    }
}

/// What a client says of itself.
struct Credentials {
    name: String,
    password: Vec<u8>,
}

/// As RFC 7617 has them: `Basic`, and the base64 of name, colon and password.
fn credentials(headers: &HeaderMap) -> Option<Credentials> {
    let said = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, encoded) = said.split_once(' ')?;
    let plain = STANDARD.decode(encoded.trim()).ok()?;
    let colon = plain.iter().position(|byte| *byte == b':')?;
    let name = String::from_utf8(plain[..colon].to_vec()).ok()?;
    let password = plain[colon + 1..].to_vec();
    scheme.eq_ignore_ascii_case("basic").then_some(Credentials { name, password })
}

/// The users of the file; `None` where it names nobody.
pub(super) fn judge(raw: BTreeMap<String, String>, complaints: &mut Complaints) -> Option<Users> {
    if raw.is_empty() {
        return None;
    }
    if raw.len() > MAX_USERS {
        complaints.add("basic_auth_users", format!("at most {MAX_USERS} users are allowed"));
    }
    for (name, hash) in &raw {
        let problems = [problem_of_name(name), problem_of_hash(hash)];
        for problem in problems.into_iter().flatten() {
            complaints.add(format!("basic_auth_users.{name}"), problem);
        }
    }
    let Ok(key) = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new()) else {
        complaints.add("basic_auth_users", "the system gives no random numbers");
        return None;
    };
    let hashes = raw.into_iter().map(|(name, hash)| (name, hash.into())).collect();
    Some(Users::new(hashes, key))
}

fn problem_of_name(name: &str) -> Option<String> {
    let fits = (1..=MAX_NAME).contains(&name.chars().count());
    let plain = !name.contains(|c: char| c.is_control() || c == ':');
    let say =
        || format!("a name is 1 to {MAX_NAME} characters, no colon and no control among them");
    (!fits || !plain).then(say)
}

/// The hash is not repeated: it may be the password itself.
fn problem_of_hash(hash: &str) -> Option<String> {
    let (lowest, highest) = (COSTS.start(), COSTS.end());
    match hash.parse::<HashParts>() {
        Err(_) => Some("is not a bcrypt hash, such as `htpasswd -nBC 10 \"\"` makes".into()),
        Ok(parts) if !COSTS.contains(&parts.get_cost()) => Some(format!(
            "has the cost {}; make a hash with a cost from {lowest} to {highest}",
            parts.get_cost()
        )),
        Ok(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn users(names: &[&str]) -> Users {
        let hash = |name: &str| bcrypt::hash(format!("{name}'s"), *COSTS.start()).unwrap();
        let raw = names.iter().map(|name| ((*name).to_owned(), hash(name))).collect();
        let mut complaints = Complaints::default();
        let users = judge(raw, &mut complaints).unwrap();
        assert!(complaints.is_empty());
        users
    }

    fn headers(scheme: &str, plain: &str) -> HeaderMap {
        let said = format!("{scheme} {}", STANDARD.encode(plain));
        HeaderMap::from_iter([(header::AUTHORIZATION, said.parse().unwrap())])
    }

    #[tokio::test]
    async fn a_user_is_who_knows_the_password() {
        let users = users(&["ada", "bob"]);
        let ada = users.recognise(&headers("basic", "ada:ada's")).await.unwrap();
        assert_eq!(ada.name(), "ada");
        for wrong in ["ada:bob's", "ada:", "ada", "", "eve:ada's", "eve:bob's", ":", "ada:ada's "] {
            let found = users.recognise(&headers("Basic", wrong)).await;
            assert_eq!(found, Err(Refusal::Unknown), "{wrong}");
        }
        for bearer in [headers("Bearer", "ada:ada's"), HeaderMap::new()] {
            assert_eq!(users.recognise(&bearer).await, Err(Refusal::Unknown));
        }
    }

    #[tokio::test]
    async fn only_right_passwords_are_remembered_and_one_for_each_user() {
        let users = users(&["ada"]);
        for _ in 0..2 {
            users.recognise(&headers("Basic", "ada:ada's")).await.unwrap();
            users.recognise(&headers("Basic", "ada:wrong")).await.unwrap_err();
            users.recognise(&headers("Basic", "eve:ada's")).await.unwrap_err();
        }
        assert_eq!(users.known().keys().collect::<Vec<_>>(), ["ada"]);
    }

    #[tokio::test]
    async fn a_full_queue_is_said_and_who_is_known_does_not_wait() {
        let users = users(&["ada", "bob"]);
        users.recognise(&headers("Basic", "ada:ada's")).await.unwrap();
        let turn = Arc::clone(&users.turn).acquire_owned().await.unwrap();
        let places = users.places.acquire_many(u32::try_from(QUEUE + 1).unwrap()).await.unwrap();
        let bob = headers("Basic", "bob:bob's");
        assert_eq!(users.recognise(&bob).await, Err(Refusal::Busy));
        users.recognise(&headers("Basic", "ada:ada's")).await.unwrap();
        drop((turn, places));
        users.recognise(&bob).await.unwrap();
    }

    #[test]
    fn nothing_of_a_password_is_shown() {
        let users = users(&["ada"]);
        assert_eq!(format!("{users:?}"), "Users { names: [\"ada\"], .. }");
    }
}
