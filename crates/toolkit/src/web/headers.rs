//! `http_server_config.headers`: what every answer carries for browsers.

use std::collections::BTreeMap;

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use satellite_yaml::Complaints;

/// The headers that the format knows, and the values that each may have; none: any.
const KNOWN: [(&str, HeaderName, &[&str]); 5] = [
    ("Content-Security-Policy", header::CONTENT_SECURITY_POLICY, &[]),
    ("X-Frame-Options", header::X_FRAME_OPTIONS, &["deny", "sameorigin"]),
    ("X-Content-Type-Options", header::X_CONTENT_TYPE_OPTIONS, &["nosniff"]),
    ("X-XSS-Protection", header::X_XSS_PROTECTION, &[]),
    ("Strict-Transport-Security", header::STRICT_TRANSPORT_SECURITY, &[]),
];

/// The headers to add. One that is blank is not added, as the format has it.
pub(super) fn judge(raw: BTreeMap<String, String>, complaints: &mut Complaints) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (written, value) in raw {
        match read(&written, &value) {
            Ok((name, value)) if !value.is_empty() => drop(headers.insert(name, value)),
            Ok(_) => {}
            Err(problem) => {
                complaints.add(format!("http_server_config.headers.{written}"), problem);
            }
        }
    }
    headers
}

fn read(written: &str, value: &str) -> Result<(HeaderName, HeaderValue), String> {
    let Some((_, name, allowed)) = KNOWN.into_iter().find(|(known, ..)| *known == written) else {
        let known = KNOWN.map(|(known, ..)| known).join(", ");
        return Err(format!("is not a header that can be set; these can: {known}"));
    };
    let is_allowed = allowed.iter().any(|it| it.eq_ignore_ascii_case(value));
    if !allowed.is_empty() && !value.is_empty() && !is_allowed {
        return Err(format!("{value:?} is not {}", allowed.join(" or ")));
    }
    let value = HeaderValue::from_str(value);
    value.map(|value| (name, value)).map_err(|_| "cannot be the value of a header".to_owned())
}
