//! Which of Prometheus's two text formats a client gets.

use axum::http::{HeaderMap, header};

/// A text format of Prometheus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// OpenMetrics 1.0.0.
    OpenMetrics,
    /// The classic text format, 0.0.4.
    Text,
}

impl Format {
    /// The format that `Accept` likes best; classic text when it is absent, names
    /// neither or cannot be read. OpenMetrics wins a tie and needs to be named, since a
    /// client that takes anything (curl, a browser) reads classic text more easily.
    pub fn negotiate(headers: &HeaderMap) -> Self {
        let mut open_metrics = 0.0;
        let mut text = 0.0;
        for value in headers.get_all(header::ACCEPT) {
            for range in value.to_str().unwrap_or_default().split(',').map(MediaRange::parse) {
                let liked = if range.is_open_metrics_1() { &mut open_metrics } else { &mut text };
                if range.is_open_metrics_1() || range.includes_text() {
                    *liked = f32::max(*liked, range.quality);
                }
            }
        }
        if open_metrics > 0.0 && open_metrics >= text { Self::OpenMetrics } else { Self::Text }
    }

    /// The `Content-Type` that Prometheus takes for this format.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// One element of an `Accept` header.
struct MediaRange<'a> {
    media_type: &'a str,
    version: Option<&'a str>,
    quality: f32,
}

impl<'a> MediaRange<'a> {
    fn parse(text: &'a str) -> Self {
        let mut parts = text.split(';').map(str::trim);
        let media_type = parts.next().unwrap_or_default();
        let mut range = Self { media_type, version: None, quality: 1.0 };
        for (key, value) in parts.filter_map(|part| part.split_once('=')) {
            let value = value.trim().trim_matches('"');
            match key.trim() {
                "version" => range.version = Some(value),
                // What cannot be read is not preferred.
                "q" => range.quality = value.parse().unwrap_or(0.0),
                _ => {}
            }
        }
        range
    }

    /// Version 0.0.1 is a draft with other rules; who asks for it alone gets text.
    fn is_open_metrics_1(&self) -> bool {
        self.media_type.eq_ignore_ascii_case("application/openmetrics-text")
            && self.version.is_none_or(|version| version == "1.0.0")
    }

    fn includes_text(&self) -> bool {
        ["text/plain", "text/*", "*/*"].iter().any(|t| self.media_type.eq_ignore_ascii_case(t))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn negotiated(accept: &str) -> Format {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, accept.parse().unwrap());
        Format::negotiate(&headers)
    }

    #[test]
    fn prometheus_gets_open_metrics_and_all_others_text() {
        let prometheus_2_42 = "application/openmetrics-text;version=1.0.0,\
             application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,\
             */*;q=0.1";
        let prometheus_3 = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
             application/openmetrics-text;version=0.0.1;q=0.5,\
             text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,\
             */*;q=0.2";
        for accept in [prometheus_2_42, prometheus_3, "application/openmetrics-text"] {
            assert_eq!(negotiated(accept), Format::OpenMetrics, "{accept}");
        }
        let draft_only =
            "application/openmetrics-text; version=0.0.1,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        let text_first = "application/openmetrics-text;version=1.0.0;q=0.2,text/plain;q=0.9";
        let refused = "application/openmetrics-text;q=0,*/*";
        for accept in [draft_only, text_first, refused, "*/*", "text/html", "", ";;q=,"] {
            assert_eq!(negotiated(accept), Format::Text, "{accept}");
        }
        assert_eq!(Format::negotiate(&HeaderMap::new()), Format::Text);
    }
}
