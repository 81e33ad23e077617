//! The value of an `Authorization` header, which nobody is to see.

use std::fmt;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use reqwest::header::HeaderValue;

/// What stands for a credential where it would have been shown.
const HIDDEN: &str = "<hidden>";

/// A shorter start of a credential gives nothing of it away, and ends many a word.
const SHORTEST_START: usize = 4;

/// A header's value, and the part of it that must not be shown.
#[derive(Clone)]
pub(super) struct Authorization {
    header: HeaderValue,
    credential: String,
}

impl Authorization {
    /// Mesos's own authentication: RFC 7617.
    pub(super) fn basic(principal: &str, secret: &str) -> Option<Self> {
        Self::new("Basic ", BASE64_STANDARD.encode(format!("{principal}:{secret}")))
    }

    /// RFC 6750, which a JWT authenticator module of Mesos and most proxies take.
    pub(super) fn bearer(token: &str) -> Option<Self> {
        Self::new("Bearer ", token.to_owned())
    }

    /// DC/OS's: its word is `token=`, without a space.
    pub(super) fn dcos(token: &str) -> Option<Self> {
        Self::new("token=", token.to_owned())
    }

    /// `None` for what is empty or cannot stand in a header.
    fn new(scheme: &str, credential: String) -> Option<Self> {
        // A space in it would end it for whoever reads the header.
        if credential.is_empty() || !credential.bytes().all(|byte| byte.is_ascii_graphic()) {
            return None;
        }
        let mut header = HeaderValue::try_from(format!("{scheme}{credential}")).ok()?;
        // Neither hyper's logs nor `Debug` show it then.
        header.set_sensitive(true);
        Some(Self { header, credential })
    }

    pub(super) fn header(&self) -> HeaderValue {
        self.header.clone()
    }

    /// A text that a peer sent, without the credential, should the peer repeat it.
    pub(super) fn hidden_in(&self, text: &str) -> String {
        hide(&self.credential, text)
    }
}

/// `text`, which may have been cut off anywhere, without `secret` and without the start of
/// it at its end.
pub(super) fn hide(secret: &str, text: &str) -> String {
    let mut text = text.replace(secret, HIDDEN);
    let longest = secret.len().min(text.len());
    let cut = (SHORTEST_START..=longest).rev().find(|length| {
        // Credentials are ASCII, and a secret that is not is never cut within a character.
        secret.get(..*length).is_some_and(|start| text.ends_with(start))
    });
    if let Some(length) = cut {
        text.truncate(text.len() - length);
        text.push_str(HIDDEN);
    }
    text
}

impl fmt::Debug for Authorization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_scheme_has_its_own_form() {
        let header = |it: Option<Authorization>| it.unwrap().header().to_str().unwrap().to_owned();
        assert_eq!(
            header(Authorization::basic("Aladdin", "open sesame")),
            "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="
        );
        assert_eq!(header(Authorization::bearer("abc.def")), "Bearer abc.def");
        assert_eq!(header(Authorization::dcos("abc.def")), "token=abc.def");
    }

    #[test]
    fn what_cannot_be_sent_whole_is_none() {
        for token in ["", "two words", "line\nbreak", "umläut"] {
            assert!(Authorization::bearer(token).is_none(), "{token:?}");
        }
    }

    #[test]
    fn it_is_shown_nowhere() {
        let authorization = Authorization::bearer("s3cr3t").unwrap();
        assert!(!format!("{authorization:?} {:?}", authorization.header()).contains("s3cr3t"));
        let echoed = authorization.hidden_in("you sent Bearer s3cr3t, s3cr3t");
        assert_eq!(echoed, "you sent Bearer <hidden>, <hidden>");
        // However little of it was read.
        assert_eq!(authorization.hidden_in("you sent s3cr3"), "you sent <hidden>");
        assert_eq!(authorization.hidden_in("s3cr3t s3cr"), "<hidden> <hidden>");
        assert_eq!(authorization.hidden_in("words"), "words");
    }
}
