//! The one file of credentials, in whatever form an operator has them.
//!
//! | fields | what is sent |
//! |---|---|
//! | `principal`, `secret` | `Authorization: Basic …`: Mesos's own HTTP authentication, and the form of its own file |
//! | `bearer_token` or `bearer_token_file` | `Authorization: Bearer …` |
//! | `dcos_token` or `dcos_token_file` | `Authorization: token=…`: a DC/OS token that was got elsewhere |
//! | `uid`, `private_key`, `login_endpoint`, `scheme` | the same, with the token of a login: the secret of a service account as DC/OS writes it |
//!
//! It is JSON or YAML, and its fields say which it is. No message about it repeats a value.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use satellite_yaml::{Document, MAX_BYTES, Problem};
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use url::Url;

use super::{
    account::{Account, signing_key},
    authorization::Authorization,
    files::{Reading, problem},
    session::Session,
};

/// How large the file of a token may be: more than any header may have.
const TOKEN_LIMIT: u64 = 64 * 1024;

/// The signature that DC/OS's service accounts log in with, the only one there is.
const SCHEME: &str = "RS256";

/// The fields of each kind; the first is the one it is known by.
const KINDS: [&[&str]; 4] = [
    &["principal", "secret"],
    &["bearer_token", "bearer_token_file"],
    &["dcos_token", "dcos_token_file"],
    &["uid", "private_key", "login_endpoint", "scheme"],
];

/// Who this program is to Mesos.
#[derive(Debug)]
pub(super) enum Credentials {
    /// The same with each request.
    Fixed(Authorization),
    /// A token that is got by logging in.
    Account(Session),
}

impl Credentials {
    /// Reads the file, and the file of a token that it may name. Every problem of them is
    /// in the error.
    pub(super) fn read(path: &Path, reading: &mut Reading) -> Result<Self, Vec<Problem>> {
        let text = reading.text(path, MAX_BYTES).map_err(|problem| vec![problem])?;
        let document = Document::new(path, text);
        let Fields(fields) = document.parse()?;
        let mut draft = Draft::new(&document, fields);
        let credentials = draft.judge(path, reading);
        draft.problems.sort_by_key(|problem| problem.place);
        match credentials {
            Some(credentials) if draft.problems.is_empty() => Ok(credentials),
            _ => Err(draft.problems),
        }
    }
}

/// The fields as they stand in the file, and what is wrong with them.
struct Draft<'a> {
    document: &'a Document,
    fields: Vec<(&'static str, String)>,
    problems: Vec<Problem>,
}

impl<'a> Draft<'a> {
    fn new(document: &'a Document, written: Vec<(String, Value)>) -> Self {
        let mut draft = Self { document, fields: Vec::new(), problems: Vec::new() };
        for (name, value) in written {
            let known = KINDS.iter().copied().flatten().find(|known| **known == name).copied();
            let Some(field) = known else {
                draft.refuse(&name, "is not a field of credentials");
                continue;
            };
            if draft.get(field).is_some() {
                draft.refuse(field, "is given twice");
            }
            // What is refused is kept as empty, so that it is not called missing as well.
            let text = match value {
                Value::Text(text) => text,
                Value::Fields(_) | Value::Other => {
                    draft.refuse(field, "is not text; put it in quotes");
                    draft.fields.push((field, String::new()));
                    continue;
                }
            };
            if text.is_empty() {
                draft.refuse(field, "is empty");
            }
            draft.fields.push((field, text));
        }
        draft
    }

    fn refuse(&mut self, field: &str, message: impl fmt::Display) {
        self.problems.push(self.document.problem(field, message));
    }

    fn get(&self, field: &str) -> Option<&str> {
        self.fields.iter().find(|(name, _)| *name == field).map(|(_, text)| text.as_str())
    }

    /// The field's text, unless it was refused already. One that is missing is refused here.
    fn required(&mut self, field: &str, beside: &str) -> Option<String> {
        let text = self.get(field).map(str::to_owned);
        if text.is_none() {
            self.refuse(beside, format_args!("wants {field} beside it"));
        }
        text.filter(|text| !text.is_empty())
    }

    fn judge(&mut self, path: &Path, reading: &mut Reading) -> Option<Credentials> {
        let is_in = |kind: &&[&str], field: &str| kind.contains(&field);
        let Some((first, _)) = self.fields.first() else {
            if self.problems.is_empty() {
                let say = "has no credentials: give principal and secret, bearer_token, \
                           bearer_token_file, dcos_token, dcos_token_file, or the secret of a \
                           DC/OS service account";
                self.problems.push(problem(path, say));
            }
            return None;
        };
        let first = *first;
        let kind = KINDS.iter().position(|kind| is_in(kind, first))?;
        let strangers: Vec<_> = self.fields.iter().map(|(name, _)| *name).collect();
        for stranger in strangers.into_iter().filter(|name| !is_in(&KINDS[kind], name)) {
            self.refuse(
                stranger,
                format_args!("does not go with {first}: a file has credentials of one kind"),
            );
        }
        match kind {
            0 => self.basic(first),
            1 => self.token(KINDS[1], path, reading, Authorization::bearer),
            2 => self.token(KINDS[2], path, reading, Authorization::dcos),
            _ => self.account(first),
        }
    }

    fn basic(&mut self, beside: &str) -> Option<Credentials> {
        let principal = self.required("principal", beside);
        let secret = self.required("secret", beside);
        let (principal, secret) = (principal?, secret?);
        if principal.contains(':') {
            self.refuse("principal", "has a colon, at which HTTP would cut it");
        }
        Authorization::basic(&principal, &secret).map(Credentials::Fixed)
    }

    /// A token that stands in the file or in another.
    fn token(
        &mut self,
        kind: &[&'static str],
        path: &Path,
        reading: &mut Reading,
        authorization: fn(&str) -> Option<Authorization>,
    ) -> Option<Credentials> {
        let (inline, in_file) = (kind[0], kind[1]);
        if self.get(inline).is_some() && self.get(in_file).is_some() {
            self.refuse(in_file, format_args!("does not go with {inline}: give one of them"));
            return None;
        }
        let cannot = "cannot be sent: it is not one word of printable ASCII characters";
        let Some(name) = self.get(in_file) else {
            let token = self.get(inline).filter(|token| !token.is_empty())?;
            let authorization = authorization(token);
            if authorization.is_none() {
                self.refuse(inline, cannot);
            }
            return authorization.map(Credentials::Fixed);
        };
        if name.is_empty() {
            return None;
        }
        // As in Prometheus's files, a relative name is relative to the file that has it.
        let file = path.parent().map_or_else(|| PathBuf::from(name), |folder| folder.join(name));
        match reading.text(&file, TOKEN_LIMIT) {
            Ok(token) => {
                // Whoever writes a file mostly ends it with a line's end.
                let authorization = authorization(token.trim());
                if authorization.is_none() {
                    self.problems.push(problem(&file, format!("its token {cannot}")));
                }
                authorization.map(Credentials::Fixed)
            }
            Err(unreadable) => {
                self.problems.push(unreadable);
                None
            }
        }
    }

    fn account(&mut self, beside: &str) -> Option<Credentials> {
        let uid = self.required("uid", beside);
        let key = self.required("private_key", beside);
        let endpoint = self.required("login_endpoint", beside);
        // dcos-metrics did without it, so that older files may lack it.
        if self.get("scheme").is_some_and(|scheme| !scheme.is_empty() && scheme != SCHEME) {
            self.refuse("scheme", format_args!("must be {SCHEME}"));
        }
        let key = key.and_then(|pem| {
            signing_key(&pem).map_err(|reason| self.refuse("private_key", reason)).ok()
        });
        let endpoint = endpoint.and_then(|url| {
            login_endpoint(&url).map_err(|reason| self.refuse("login_endpoint", reason)).ok()
        });
        Some(Credentials::Account(Session::new(Account::new(uid?, key?, endpoint?))))
    }
}

fn login_endpoint(text: &str) -> Result<Url, &'static str> {
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    let url = url.ok_or("is not a URL such as https://leader.mesos/acs/api/v1/auth/login")?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("has a user or a password in it, and URLs are logged");
    }
    Ok(url)
}

/// What a file says, in its order and with what is said twice.
struct Fields(Vec<(String, Value)>);

/// A value as it stands there. serde's own readers name in their errors what they found,
/// which here may be a secret without its quotes.
enum Value {
    Text(String),
    Fields(Vec<(String, Value)>),
    Other,
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match ValueReader.deserialize(deserializer)? {
            Value::Fields(fields) => Ok(Self(fields)),
            _ => Err(D::Error::custom("has no fields, such as principal and secret")),
        }
    }
}

#[derive(Clone, Copy)]
struct ValueReader;

impl<'de> DeserializeSeed<'de> for ValueReader {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ValueReader {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(text.to_owned()))
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Value, E> {
        Ok(Value::Other)
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Value, E> {
        Ok(Value::Other)
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Value, E> {
        Ok(Value::Other)
    }

    fn visit_i128<E: Error>(self, _: i128) -> Result<Value, E> {
        Ok(Value::Other)
    }

    fn visit_u128<E: Error>(self, _: u128) -> Result<Value, E> {
        Ok(Value::Other)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Value, E> {
        Ok(Value::Other)
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut fields = Vec::new();
        while let Some(name) = map.next_key_seed(Self)? {
            let Value::Text(name) = name else {
                return Err(A::Error::custom("has a field whose name is not text"));
            };
            fields.push((name, map.next_value_seed(Self)?));
        }
        Ok(Value::Fields(fields))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Value::Other)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const KEY: &str = include_str!("../../tests/keys/test-only-rsa.pkcs8.pem");
    const EC_KEY: &str = include_str!("../../tests/keys/test-only-ec.pkcs8.pem");

    /// A folder with the file that is read and others.
    fn read_among(text: &str, others: &[(&str, &[u8])]) -> Result<Credentials, Vec<String>> {
        let folder = tempfile::tempdir().unwrap();
        for (name, content) in others {
            fs::write(folder.path().join(name), content).unwrap();
        }
        let path = folder.path().join("c.json");
        fs::write(&path, text).unwrap();
        let prefix = format!("{}/", folder.path().display());
        Credentials::read(&path, &mut Reading::default()).map_err(|problems| {
            problems.iter().map(|problem| problem.to_string().replace(&prefix, "")).collect()
        })
    }

    fn header(text: &str, others: &[(&str, &[u8])]) -> String {
        match read_among(text, others) {
            Ok(Credentials::Fixed(authorization)) => {
                authorization.header().to_str().unwrap().to_owned()
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn each_kind_is_known_by_its_fields() {
        let basic = "Basic cHJvbTpzY3JhcGU=";
        assert_eq!(header(r#"{"principal": "prom", "secret": "scrape"}"#, &[]), basic);
        assert_eq!(header("principal: prom\nsecret: scrape\n", &[]), basic);
        assert_eq!(header(r#"{"bearer_token": "a.b"}"#, &[]), "Bearer a.b");
        assert_eq!(header("dcos_token: a.b", &[]), "token=a.b");
        let token: &[(&str, &[u8])] = &[("token", b" a.b\n")];
        assert_eq!(header("bearer_token_file: token", token), "Bearer a.b");
        assert_eq!(header(r#"{"dcos_token_file": "./token"}"#, token), "token=a.b");
    }

    #[test]
    fn the_secret_of_a_service_account_is_taken_as_dcos_writes_it() {
        let json = serde_json::json!({
            "scheme": "RS256",
            "uid": "satellite",
            "private_key": KEY,
            "login_endpoint": "https://leader.mesos/acs/api/v1/auth/login",
        });
        let Ok(Credentials::Account(session)) = read_among(&json.to_string(), &[]) else {
            panic!()
        };
        assert_eq!(session.account().endpoint().host_str(), Some("leader.mesos"));
        assert!(!format!("{session:?}").contains("PRIVATE"));
    }

    #[test]
    fn each_bad_file_is_refused_with_every_problem_and_its_line() {
        let cases: [(&str, &[&str]); 22] = [
            ("", &["c.json: the file is empty"]),
            ("{}", &["c.json: has no credentials: give principal and secret, bearer_token, "]),
            ("s3cr3t", &["c.json: has no fields, such as principal"]),
            ("47114711", &["c.json: has no fields, such as principal"]),
            ("[s3cr3t]", &["c.json: has no fields, such as principal"]),
            ("{47114711: a}", &["c.json:1:1: has a field whose name is not text"]),
            ("{principal: a, secret: 's3cr3t", &["c.json:"]),
            ("principal: a\n", &["c.json:1:12: principal: wants secret beside it"]),
            ("secret: s3cr3t\n", &["c.json:1:9: secret: wants principal beside it"]),
            ("principal: a:b\nsecret: ''\n", &["c.json:2:9: secret: is empty"]),
            ("principal: a:b\nsecret: s3cr3t\n", &["c.json:1:12: principal: has a colon"]),
            (
                "principal: a\nsecret: 47114711\n",
                &["c.json:2:9: secret: is not text; put it in quotes"],
            ),
            ("principal: a\nsecret: {s3cr3t: true}\n", &["c.json:2:9: secret: is not text"]),
            (
                "secret: s3cr3t\nprincpal: a\nusr: 47114711\n",
                &[
                    "c.json:1:9: secret: wants principal beside it",
                    "c.json:2:11: princpal: is not a field of credentials",
                    "c.json:3:6: usr: is not a field of credentials",
                ],
            ),
            (
                "principal: a\nsecret: s3cr3t\nsecret: s3cr3t2\n",
                &["c.json:2:9: secret: is given twice"],
            ),
            (
                "principal: a\nsecret: s3cr3t\nbearer_token: s3cr3t\n",
                &["c.json:3:15: bearer_token: does not go with principal: a file has credentials"],
            ),
            (
                "bearer_token: s3cr3t\nbearer_token_file: token\n",
                &["c.json:2:20: bearer_token_file: does not go with bearer_token: give one"],
            ),
            (
                "dcos_token: two s3cr3ts\n",
                &["c.json:1:13: dcos_token: cannot be sent: it is not one word"],
            ),
            ("dcos_token_file: missing\n", &["missing: cannot be read: No such file"]),
            ("dcos_token_file: blank\n", &["blank: its token cannot be sent"]),
            ("dcos_token_file: binary\n", &["binary: is not UTF-8"]),
            ("dcos_token_file: large\n", &["large: is larger than 65536 bytes"]),
        ];
        let large = vec![b'x'; 65_537];
        let others: &[(&str, &[u8])] =
            &[("token", b"t"), ("blank", b" \n"), ("binary", b"\xff"), ("large", &large)];
        for (text, expected) in cases {
            let found = read_among(text, others).map(drop).unwrap_err();
            assert_eq!(found.len(), expected.len(), "{text:?}: {found:#?}");
            for (found, expected) in found.iter().zip(expected) {
                assert!(found.starts_with(expected), "{text:?}: {found}");
                assert!(!found.contains("s3cr3t") || text.contains("{s3cr3t"), "{found}");
                assert!(!found.contains("4711"), "{found}");
            }
        }
    }

    #[test]
    fn a_bad_service_account_is_refused_with_every_problem() {
        let json = |key: &str, endpoint: &str, scheme: &str| {
            let fields = [
                ("uid", "u"),
                ("private_key", key),
                ("login_endpoint", endpoint),
                ("scheme", scheme),
            ];
            let lines = fields.map(|(name, value)| format!("  \"{name}\": {value:?}"));
            format!("{{\n{}\n}}\n", lines.join(",\n"))
        };
        let good = "https://iam/login";
        let cases: [(String, &[&str]); 5] = [
            (
                "uid: u\n".into(),
                &[
                    "c.json:1:6: uid: wants private_key beside it",
                    "c.json:1:6: uid: wants login_endpoint beside it",
                ],
            ),
            (json(KEY, good, "HS256"), &["c.json:5:13: scheme: must be RS256"]),
            (
                json("s3cr3t", "ftp://iam", "RS256"),
                &[
                    "c.json:3:18: private_key: is not a private key in PEM",
                    "c.json:4:21: login_endpoint: is not a URL such as",
                ],
            ),
            (json(EC_KEY, good, "RS256"), &["c.json:3:18: private_key: is not an RSA key of 2048"]),
            (
                json(KEY, "https://u:s3cr3t@iam/", "RS256"),
                &["c.json:4:21: login_endpoint: has a user or a password"],
            ),
        ];
        for (text, expected) in cases {
            let found = read_among(&text, &[]).map(drop).unwrap_err();
            assert_eq!(found.len(), expected.len(), "{text:?}: {found:#?}");
            for (found, expected) in found.iter().zip(expected) {
                assert!(found.starts_with(expected), "{text:?}: {found}");
                assert!(!found.contains("s3cr3t") && !found.contains("PRIVATE"), "{found}");
            }
        }
    }
}
