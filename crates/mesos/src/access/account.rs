//! A DC/OS service account: it logs in by a signature, and is given a token for a while.
//!
//! From DC/OS's documentation of the service login, and dcos-metrics's and Mesos's use of
//! it: the account signs a JWT with the claims `uid` and `exp` by RS256, meant for one
//! login. `POST` of `{"uid", "token"}` to the login endpoint is answered by
//! `{"token": …}`, which Mesos takes as `Authorization: token=…`. That token is a JWT, too,
//! with an `exp` five days ahead unless the cluster's operators chose otherwise; nothing is
//! asked for here, so that their choice holds. A refusal is `{"title", "description"}`.

use std::{fmt, time::Duration};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use jiff::{SignedDuration, Timestamp};
use reqwest::Response;
use ring::{
    rand::SystemRandom,
    signature::{RSA_PKCS1_SHA256, RsaKeyPair},
};
use rustls::pki_types::{PrivateKeyDer, pem::PemObject as _};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, timeout};
use url::Url;

use super::authorization::{Authorization, hide};
use crate::client::{escaped, shown};

/// The one header of every login that DC/OS takes.
const JWT_HEADER: &[u8] = br#"{"alg":"RS256","typ":"JWT"}"#;

/// For how long what was signed can be used. It is meant for one request, and the two
/// clocks may differ by a few minutes.
const LOGIN_LIFE: SignedDuration = SignedDuration::from_mins(5);

/// How long a login may take, from connecting to the last byte. It is a signature to be
/// verified and one to be made; after an outage all nodes of a cluster ask at once.
const LOGIN_TIMEOUT: Duration = Duration::from_secs(10);

/// How large the answer may be. A token is about 500 bytes, and no header can carry more
/// than a few kilobytes.
const ANSWER_LIMIT: usize = 64 * 1024;

/// How long a token is used that does not say how long it lives: a fraction of what
/// anybody issues them for, and a login is cheap.
const DEFAULT_LIFE: Duration = Duration::from_secs(60 * 60);

/// How long a token is used at least, however soon it says it ends. One that has ended
/// when it comes speaks of clocks that differ, and without this each request would log in.
const MIN_LIFE: Duration = Duration::from_secs(60);

/// How long a token is used at most: the usual life is five days.
const MAX_LIFE: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Why a login brought no token.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoginError {
    /// It could not be asked, or the connection broke off.
    #[error("the request failed")]
    Request(#[source] reqwest::Error),
    /// No whole answer in time.
    #[error("no whole answer within {0:?}")]
    Timeout(Duration),
    /// It leads elsewhere, where what was signed has no business.
    #[error("answered {status}, a redirect, and none is followed; configure where it leads")]
    Redirected {
        /// The status code.
        status: u16,
    },
    /// A status that is neither 2xx nor 3xx.
    #[error("answered {status}: {said}")]
    Status {
        /// The status code.
        status: u16,
        /// The reason, as DC/OS writes it, or else the start of the answer.
        said: String,
    },
    /// The answer went over its limit and was not read to its end.
    #[error("the answer is larger than {0} bytes")]
    TooLarge(usize),
    /// A good answer without a token that could be sent.
    #[error("the answer has no token that can be sent")]
    NoToken,
    /// Nothing could be signed with the key.
    #[error("signing with the private key failed")]
    Signing,
    /// It succeeded, and Mesos refused the token at once.
    #[error("Mesos refused the token that a login had just brought")]
    TokenRefused,
    /// A mistake in this program.
    #[error("the login was broken off; please report this")]
    BrokenOff,
}

/// Who logs in, where, and with what key.
pub(super) struct Account {
    uid: String,
    key: RsaKeyPair,
    endpoint: Url,
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let endpoint = shown(&self.endpoint);
        f.debug_struct("Account")
            .field("uid", &self.uid)
            .field("endpoint", &endpoint)
            .finish_non_exhaustive()
    }
}

/// What a login brought.
#[derive(Debug)]
pub(super) struct Token {
    pub(super) authorization: Authorization,
    pub(super) came: Instant,
    pub(super) life: Duration,
}

#[derive(Serialize)]
struct Claims<'a> {
    uid: &'a str,
    exp: i64,
}

#[derive(Serialize)]
struct Login<'a> {
    uid: &'a str,
    token: &'a str,
}

#[derive(Deserialize)]
struct Answer {
    token: String,
}

#[derive(Deserialize)]
struct Refusal {
    title: Option<String>,
    description: Option<String>,
}

#[derive(Deserialize)]
struct Expiry {
    exp: Option<f64>,
}

/// Reads a private key in PEM; the error completes "private_key: …" and repeats nothing.
pub(super) fn signing_key(pem: &str) -> Result<RsaKeyPair, String> {
    let key = match PrivateKeyDer::from_pem_slice(pem.as_bytes()) {
        Ok(PrivateKeyDer::Pkcs8(der)) => RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()),
        Ok(PrivateKeyDer::Pkcs1(der)) => RsaKeyPair::from_der(der.secret_pkcs1_der()),
        Ok(_) => return Err("is not an RSA key, and RS256 needs one".into()),
        Err(_) => return Err("is not a private key in PEM, as PKCS#8 or PKCS#1".into()),
    };
    key.map_err(|reason| format!("is not an RSA key of 2048 to 4096 bits that can sign: {reason}"))
}

impl Account {
    pub(super) fn new(uid: String, key: RsaKeyPair, endpoint: Url) -> Self {
        Self { uid, key, endpoint }
    }

    pub(super) fn endpoint(&self) -> &Url {
        &self.endpoint
    }

    /// Logs in. `http` follows no redirects.
    pub(super) async fn log_in(&self, http: &reqwest::Client) -> Result<Token, LoginError> {
        let signed = self.sign(Timestamp::now())?;
        let asked = self.ask(http, &signed);
        let token = timeout(LOGIN_TIMEOUT, asked)
            .await
            .unwrap_or(Err(LoginError::Timeout(LOGIN_TIMEOUT)))?;
        let authorization = Authorization::dcos(&token).ok_or(LoginError::NoToken)?;
        Ok(Token { authorization, came: Instant::now(), life: life(&token, Timestamp::now()) })
    }

    /// The JWT that a login is made with.
    fn sign(&self, now: Timestamp) -> Result<String, LoginError> {
        let exp = now.as_second().saturating_add(LOGIN_LIFE.as_secs());
        let claims =
            serde_json::to_vec(&Claims { uid: &self.uid, exp }).map_err(|_| LoginError::Signing)?;
        let encode = |part: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(part);
        let message = format!("{}.{}", encode(JWT_HEADER), encode(&claims));
        let mut signature = vec![0; self.key.public().modulus_len()];
        self.key
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message.as_bytes(), &mut signature)
            .map_err(|_| LoginError::Signing)?;
        Ok(format!("{message}.{}", encode(&signature)))
    }

    async fn ask(&self, http: &reqwest::Client, signed: &str) -> Result<String, LoginError> {
        let failed = |error: reqwest::Error| LoginError::Request(error.without_url());
        let login = Login { uid: &self.uid, token: signed };
        let request = http.post(self.endpoint.clone()).json(&login);
        let response = request.send().await.map_err(failed)?;
        let status = response.status();
        if status.is_redirection() {
            return Err(LoginError::Redirected { status: status.as_u16() });
        }
        let body = whole(response).await?;
        if !status.is_success() {
            // It may repeat what it was sent.
            let said = reason(&hide(signed, &String::from_utf8_lossy(&body)));
            return Err(LoginError::Status { status: status.as_u16(), said });
        }
        let answer: Answer = serde_json::from_slice(&body).map_err(|_| LoginError::NoToken)?;
        Ok(answer.token)
    }
}

async fn whole(mut response: Response) -> Result<Vec<u8>, LoginError> {
    let mut body = Vec::new();
    loop {
        let chunk = response.chunk().await;
        let chunk = chunk.map_err(|error| LoginError::Request(error.without_url()))?;
        let Some(chunk) = chunk else { return Ok(body) };
        if body.len() + chunk.len() > ANSWER_LIMIT {
            return Err(LoginError::TooLarge(ANSWER_LIMIT));
        }
        body.extend_from_slice(&chunk);
    }
}

/// Why a login was refused, short and on one line.
fn reason(body: &str) -> String {
    match serde_json::from_str(body) {
        Ok(Refusal { title: Some(title), description: Some(description) }) => {
            escaped(format!("{title}: {description}").as_bytes())
        }
        Ok(Refusal { title: Some(said), .. } | Refusal { description: Some(said), .. }) => {
            escaped(said.as_bytes())
        }
        _ => escaped(body.as_bytes()),
    }
}

/// How long a token that has come at `now` may be used.
fn life(token: &str, now: Timestamp) -> Duration {
    let Some(end) = expiry(token) else { return DEFAULT_LIFE };
    let seconds = end - now.as_duration().as_secs_f64();
    // What is no duration is past, or farther ahead than anything.
    let life = Duration::try_from_secs_f64(seconds);
    life.unwrap_or(if seconds > 0.0 { MAX_LIFE } else { MIN_LIFE }).clamp(MIN_LIFE, MAX_LIFE)
}

/// The claim `exp` of a JWT, in seconds since 1970; `None` where it has none or is another
/// kind of token. Its signature is Mesos's to verify.
fn expiry(token: &str) -> Option<f64> {
    let claims = token.split('.').nth(1)?;
    let claims = BASE64_URL_SAFE_NO_PAD.decode(claims).ok()?;
    serde_json::from_slice::<Expiry>(&claims).ok()?.exp
}

#[cfg(test)]
mod tests {
    use ring::signature::KeyPair as _;
    use ring::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};

    use super::*;

    const PKCS8: &str = include_str!("../../tests/keys/test-only-rsa.pkcs8.pem");
    const PKCS1: &str = include_str!("../../tests/keys/test-only-rsa.pkcs1.pem");
    const SEC1: &str = include_str!("../../tests/keys/test-only-ec.sec1.pem");

    fn second(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    fn token(claims: &str) -> String {
        format!("e30.{}.c2ln", BASE64_URL_SAFE_NO_PAD.encode(claims))
    }

    #[test]
    fn a_login_is_a_jwt_that_the_public_key_verifies() {
        for pem in [PKCS8, PKCS1] {
            let key = signing_key(pem).unwrap();
            let public = UnparsedPublicKey::new(
                &RSA_PKCS1_2048_8192_SHA256,
                key.public_key().as_ref().to_vec(),
            );
            let endpoint = Url::parse("https://iam/login").unwrap();
            let account = Account::new("satellite \"α\"".into(), key, endpoint);
            let signed = account.sign(second(1_000)).unwrap();
            let (message, signature) = signed.rsplit_once('.').unwrap();
            let decode = |part: &str| BASE64_URL_SAFE_NO_PAD.decode(part).unwrap();
            public.verify(message.as_bytes(), &decode(signature)).unwrap();
            assert!(public.verify(b"another message", &decode(signature)).is_err());
            let (header, claims) = message.split_once('.').unwrap();
            let json =
                |part: &str| serde_json::from_slice::<serde_json::Value>(&decode(part)).unwrap();
            assert_eq!(json(header), serde_json::json!({"alg": "RS256", "typ": "JWT"}));
            assert_eq!(json(claims), serde_json::json!({"uid": "satellite \"α\"", "exp": 1_300}));
        }
    }

    #[test]
    fn a_key_that_cannot_sign_rs256_is_refused_and_not_repeated() {
        let torn = PKCS8.replace('A', "B");
        for pem in ["", "secret", SEC1, &torn] {
            let refusal = signing_key(pem).map(drop).unwrap_err();
            assert!(refusal.starts_with("is not ") && refusal.len() < 100, "{refusal}");
        }
    }

    #[test]
    fn the_life_of_a_token_is_its_expiry_within_bounds() {
        let seconds = |token: &str| life(token, second(1_000)).as_secs();
        assert_eq!(seconds(&token(r#"{"uid":"x","exp":8200}"#)), 7_200);
        assert_eq!(seconds(&token(r#"{"exp":8200.5}"#)), 7_200);
        // Its end is past, or as good as.
        for exp in ["999", "1000", "1001", "-5", "-1e300"] {
            assert_eq!(seconds(&token(&format!(r#"{{"exp":{exp}}}"#))), 60, "{exp}");
        }
        for exp in ["1e9", "1e300"] {
            assert_eq!(seconds(&token(&format!(r#"{{"exp":{exp}}}"#))), 604_800, "{exp}");
        }
        for other in
            ["opaque", "a.b", "a.!.c", &token("{}"), &token("[]"), &token(r#"{"exp":"1"}"#)]
        {
            assert_eq!(seconds(other), 3_600, "{other}");
        }
    }

    #[test]
    fn a_refusal_is_told_as_dcos_words_it() {
        assert_eq!(
            reason(r#"{"title":"Bad","description":"no such\nuser"}"#),
            "Bad: no such\\nuser"
        );
        assert_eq!(reason(r#"{"description":"no such user"}"#), "no such user");
        assert_eq!(reason("<html>"), "<html>");
    }

    #[test]
    fn neither_key_nor_token_is_shown() {
        let key = signing_key(PKCS8).unwrap();
        let endpoint = Url::parse("https://iam/login").unwrap();
        let account = Account::new("satellite".into(), key, endpoint);
        let shown = format!("{account:?}");
        assert_eq!(shown, r#"Account { uid: "satellite", endpoint: "https://iam/login", .. }"#);
    }
}
