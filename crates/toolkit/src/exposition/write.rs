//! Families and registries as text.

use std::{borrow::Cow, iter::Peekable, mem, sync::Arc, vec};

use bytes::Bytes;

use super::{Family, Format, Kind, Labels};

/// Bytes after which a piece is handed on: enough that a piece costs little beside its
/// lines, little enough that it lies in the processor's cache.
const PIECE: usize = 64 * 1024;

/// A piece is full with the line that goes beyond [`PIECE`].
const CAPACITY: usize = PIECE + PIECE / 16;

/// Writes an exposition piece by piece. Families come first, sorted by name; then what
/// registries hold.
#[derive(Debug)]
pub(super) struct Pieces {
    format: Format,
    families: Arc<[Arc<[Family]>]>,
    /// The families that have series, sorted by name: which of them, and in which part.
    order: Peekable<vec::IntoIter<(usize, usize)>>,
    /// How many series of the first family in `order` are written.
    written: usize,
    /// The name of the family that was written last.
    last: Option<(usize, usize)>,
    tail: Option<String>,
    piece: Vec<u8>,
}

impl Pieces {
    pub(super) fn new(format: Format, families: Vec<Arc<[Family]>>, registered: &str) -> Self {
        let mut order: Vec<_> = families
            .iter()
            .enumerate()
            .flat_map(|(part, all)| {
                all.iter().enumerate().map(move |(at, family)| (part, at, family))
            })
            .filter(|(_, _, family)| !family.samples.is_empty())
            .map(|(part, at, _)| (part, at))
            .collect();
        order.sort_by_key(|&(part, at)| &families[part][at].name);
        let tail = match format {
            Format::OpenMetrics => format!("{registered}# EOF\n"),
            Format::Text => classic(registered),
        };
        Self {
            format,
            families: families.into(),
            order: order.into_iter().peekable(),
            written: 0,
            last: None,
            tail: Some(tail),
            piece: Vec::with_capacity(CAPACITY),
        }
    }

    /// Writes series of the next family until there are no more of them or the piece is full.
    fn advance(&mut self, (part, at): (usize, usize)) {
        let families = Arc::clone(&self.families);
        let family = &families[part][at];
        if self.written == 0
            && self.last.is_none_or(|(part, at)| families[part][at].name != family.name)
        {
            head(&mut self.piece, self.format, family);
        }
        for (labels, value) in &family.samples[self.written..] {
            self.written += 1;
            match family.kind {
                Kind::Info => line(&mut self.piece, family, labels, 1.0),
                // What is below zero, or no number, is no count, and would fail the scrape.
                Kind::Counter if value.is_nan() || *value < 0.0 => {}
                _ => line(&mut self.piece, family, labels, *value),
            }
            if self.piece.len() >= PIECE {
                break;
            }
        }
        if self.written == family.samples.len() {
            self.last = self.order.next();
            self.written = 0;
        }
    }
}

impl Iterator for Pieces {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        while self.piece.len() < PIECE
            && let Some(&next) = self.order.peek()
        {
            self.advance(next);
        }
        if self.piece.is_empty() {
            return self.tail.take().filter(|tail| !tail.is_empty()).map(Bytes::from);
        }
        Some(mem::replace(&mut self.piece, Vec::with_capacity(CAPACITY)).into())
    }
}

/// HELP and TYPE. In OpenMetrics they bear the name without the suffix of its kind.
fn head(piece: &mut Vec<u8>, format: Format, family: &Family) {
    let (suffix, kind) = match (format, family.kind) {
        (_, Kind::Gauge) => ("", "gauge"),
        (Format::OpenMetrics, Kind::Counter) => ("_total", "counter"),
        (Format::OpenMetrics, Kind::Info) => ("_info", "info"),
        (Format::OpenMetrics, Kind::Unknown) => ("", "unknown"),
        (Format::Text, Kind::Counter) => ("", "counter"),
        (Format::Text, Kind::Info) => ("", "gauge"),
        (Format::Text, Kind::Unknown) => ("", "untyped"),
    };
    let name = family.name.strip_suffix(suffix).unwrap_or(&family.name);
    for text in ["# HELP ", name, " ", &help(&family.help), "\n# TYPE ", name, " ", kind, "\n"] {
        piece.extend_from_slice(text.as_bytes());
    }
}

fn line(piece: &mut Vec<u8>, family: &Family, labels: &Labels, value: f64) {
    let (own, common) = (labels.as_str(), family.labels.as_str());
    piece.extend_from_slice(family.name.as_bytes());
    if !own.is_empty() || !common.is_empty() {
        piece.push(b'{');
        piece.extend_from_slice(own.as_bytes());
        if !own.is_empty() && !common.is_empty() {
            piece.push(b',');
        }
        piece.extend_from_slice(common.as_bytes());
        piece.push(b'}');
    }
    piece.push(b' ');
    number(piece, value);
    piece.push(b'\n');
}

/// Whole numbers are written without a fraction, up to where every one is exact.
const EXACT: f64 = 9_007_199_254_740_992.0;

#[expect(clippy::cast_possible_truncation, reason = "checked to be a whole number within i64")]
fn number(piece: &mut Vec<u8>, value: f64) {
    if value.fract() == 0.0 && value.abs() <= EXACT {
        piece.extend_from_slice(itoa::Buffer::new().format(value as i64).as_bytes());
    } else if value.is_finite() {
        piece.extend_from_slice(zmij::Buffer::new().format_finite(value).as_bytes());
    } else {
        let text = if value.is_nan() {
            "NaN"
        } else if value > 0.0 {
            "+Inf"
        } else {
            "-Inf"
        };
        piece.extend_from_slice(text.as_bytes());
    }
}

/// A help text that both formats can carry: they escape backslashes and newlines alike;
/// a double quote, where they differ, becomes a single one.
fn help(text: &str) -> Cow<'_, str> {
    if !text.contains(['\\', '\n', '\r', '"']) {
        return Cow::Borrowed(text);
    }
    let escaped = text.replace('\\', "\\\\").replace('\n', "\\n").replace('\r', " ");
    Cow::Owned(escaped.replace('"', "'"))
}

/// Turns an OpenMetrics exposition without its end into the classic format: the names
/// in HELP and TYPE are those of the samples, and the types are those it knows.
fn classic(open_metrics: &str) -> String {
    let mut text = String::with_capacity(open_metrics.len());
    // HELP comes before TYPE, which decides the name that both carry.
    let mut help: Option<(&str, &str)> = None;
    for line in open_metrics.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest.split_once(' ').or(Some((rest, "")));
        } else if let Some((name, kind)) =
            line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' '))
        {
            let (suffix, kind) = match kind {
                "counter" => ("_total", "counter"),
                "info" => ("_info", "gauge"),
                "unknown" => ("", "untyped"),
                other => ("", other),
            };
            if let Some((_, help)) = help.take().filter(|(of, _)| *of == name) {
                text.extend(["# HELP ", name, suffix, " ", help, "\n"]);
            }
            text.extend(["# TYPE ", name, suffix, " ", kind, "\n"]);
        } else if !line.starts_with('#') {
            text.extend([line, "\n"]);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exposition::Exposition;

    fn families() -> Vec<Family> {
        let mut counter = Family::new("a_total", "A\\b\nc", Kind::Counter);
        counter.push(Labels::default(), 3.0);
        let mut info = Family::new("b_info", "B", Kind::Info);
        info.push(Labels::new([("q", "a\"\n\\")]), 7.0);
        let mut unknown = Family::new("c", "C", Kind::Unknown);
        unknown.push(Labels::default(), 0.5);
        vec![unknown, info, Family::new("d", "D", Kind::Gauge), counter]
    }

    #[test]
    fn both_formats_name_and_type_a_family_their_own_way() {
        let text = |format| Exposition::new(format).families(families()).into_text();
        assert_eq!(
            text(Format::OpenMetrics),
            "# HELP a A\\\\b\\nc\n# TYPE a counter\na_total 3\n\
             # HELP b B\n# TYPE b info\nb_info{q=\"a\\\"\\n\\\\\"} 1\n\
             # HELP c C\n# TYPE c unknown\nc 0.5\n# EOF\n"
        );
        assert_eq!(
            text(Format::Text),
            "# HELP a_total A\\\\b\\nc\n# TYPE a_total counter\na_total 3\n\
             # HELP b_info B\n# TYPE b_info gauge\nb_info{q=\"a\\\"\\n\\\\\"} 1\n\
             # HELP c C\n# TYPE c untyped\nc 0.5\n"
        );
    }

    #[test]
    fn a_counter_below_zero_is_left_out() {
        let mut counter = Family::new("a_total", "A", Kind::Counter);
        for value in [-1.0, f64::NAN, 2.0] {
            counter.push(Labels::default(), value);
        }
        let text = Exposition::new(Format::Text).families(vec![counter]).into_text();
        assert_eq!(text, "# HELP a_total A\n# TYPE a_total counter\na_total 2\n");
    }

    #[test]
    fn a_family_of_two_sources_is_written_once() {
        let of = |source: &str| {
            let mut family = Family::new("a", source.to_owned(), Kind::Gauge);
            family.push(Labels::new([("source", source)]), 1.0);
            vec![family]
        };
        let text = Exposition::new(Format::Text).families(of("x")).families(of("y")).into_text();
        assert_eq!(text, "# HELP a x\n# TYPE a gauge\na{source=\"x\"} 1\na{source=\"y\"} 1\n");
    }

    #[test]
    fn labels_of_a_family_stand_behind_those_of_a_series() {
        let of = |state: &str, labels: Labels| {
            let mut family = Family::new("a", "A", Kind::Gauge);
            family.push(labels, 1.0);
            family.labelled(Labels::new([("state", state)]))
        };
        let families = vec![of("x", Labels::new([("host", "h")])), of("y", Labels::default())];
        let text = Exposition::new(Format::Text).families(families).into_text();
        let expected = "# HELP a A\n# TYPE a gauge\n\
                        a{host=\"h\",state=\"x\"} 1\na{state=\"y\"} 1\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn pieces_of_a_large_exposition_join_without_a_seam() {
        let mut family = Family::new("a", "A", Kind::Gauge);
        let mut expected = "# HELP a A\n# TYPE a gauge\n".to_owned();
        for at in 0..20_000_u32 {
            family.push(Labels::new([("at", at.to_string())]), f64::from(at));
            expected.push_str(&format!("a{{at=\"{at}\"}} {at}\n"));
        }
        let exposition = Exposition::new(Format::Text).families(vec![family]);
        assert!(exposition.clone().into_pieces().count() > 3);
        assert_eq!(exposition.into_text(), expected);
    }

    #[test]
    fn numbers_are_written_as_prometheus_reads_them() {
        let cases = [
            (0.0, "0"),
            (-0.0, "0"),
            (1e15, "1000000000000000"),
            (-2.5, "-2.5"),
            (0.1, "0.1"),
            (1e300, "1e+300"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
        ];
        for (value, expected) in cases {
            let mut piece = Vec::new();
            number(&mut piece, value);
            assert_eq!(String::from_utf8(piece).unwrap(), expected);
        }
    }
}
