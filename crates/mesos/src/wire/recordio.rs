//! RecordIO: how Mesos cuts an answer that does not end into records.
//!
//! A call that streams, such as `SUBSCRIBE` of the operator API, is answered with one record after
//! another, each of them a JSON document of its own:
//!
//! ```text
//! 20\n{"type":"HEARTBEAT"}675\n…
//! ```
//!
//! That is a length in decimal digits, a line feed, and that many bytes, with nothing behind them
//! (<https://mesos.apache.org/documentation/latest/recordio/>). Nothing says where the network cuts
//! the stream, so [`Decoder`] takes it in pieces that may begin and end anywhere.
//!
//! It is for whoever subscribes. Neither daemon does as yet: both ask again on each scrape or round.
//!
//! The decoder holds to the grammar: a line without a digit is an error, as it is to Mesos's own
//! decoder, although the parser that Mesos's documentation sketches would pass over one. It does not
//! look into the records, and it does no I/O.

/// A length of more digits than this is no length: Mesos's own are 64 bits wide.
pub const MAX_DIGITS: u8 = 20;

/// Takes a stream apart into its records.
///
/// ```
/// # use satellite_mesos::wire::recordio::Decoder;
/// let mut decoder = Decoder::new(1024);
/// let mut records = Vec::new();
/// for mut piece in [&b"5\nhel"[..], b"lo6\nworld!"] {
///     while let Some(record) = decoder.next(&mut piece)? {
///         records.push(record);
///     }
/// }
/// decoder.finish()?;
/// assert_eq!(records, [&b"hello"[..], b"world!"]);
/// # Ok::<(), satellite_mesos::wire::recordio::RecordError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Decoder {
    max_record: usize,
    /// How many bytes of the stream have been taken.
    at: u64,
    state: State,
}

#[derive(Debug, Clone)]
enum State {
    /// Within a length, of which these digits have come.
    Length { digits: u8, length: usize },
    /// Within a record. What has come of it is kept, and room for the rest is made when it comes:
    /// a length is only a claim.
    Record { length: usize, so_far: Vec<u8> },
    /// Where the next record begins is not known any more.
    Failed(RecordError),
}

/// The state at the start of each record.
const START: State = State::Length { digits: 0, length: 0 };

/// Why a stream cannot be taken apart. `at` counts its bytes from 0.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// A length holds something else.
    #[error(r#"expected a digit of a record's length at byte {at} of the stream, not "{}""#, found.escape_ascii())]
    NoDigit {
        /// Where.
        at: u64,
        /// What stands there.
        found: u8,
    },
    /// A length does not end.
    #[error("the record's length at byte {at} of the stream has more than {MAX_DIGITS} digits")]
    TooManyDigits {
        /// Where its first digit too many is.
        at: u64,
    },
    /// A record is longer than this decoder takes.
    #[error("the record announced at byte {at} of the stream has more than {max} bytes")]
    TooLong {
        /// Where that became clear.
        at: u64,
        /// What a record may have.
        max: usize,
    },
    /// The stream ended before its last record did.
    #[error("the stream ended at byte {at}, within a record")]
    Incomplete {
        /// Where it ended.
        at: u64,
    },
}

impl Decoder {
    /// At the start of a stream, of which no record may be longer than `max_record` bytes.
    pub fn new(max_record: usize) -> Self {
        Self { max_record, at: 0, state: START }
    }

    /// Takes bytes off the front of `piece` until a record is whole, and returns that; `None` once
    /// the piece is used up. After an error, which leaves the rest of the piece alone, nothing but
    /// that error comes.
    pub fn next(&mut self, piece: &mut &[u8]) -> Result<Option<Vec<u8>>, RecordError> {
        loop {
            match &mut self.state {
                State::Length { .. } => {
                    let Some(byte) = piece.split_off_first() else { return Ok(None) };
                    self.read_length(*byte).inspect_err(|error| {
                        self.state = State::Failed(error.clone());
                    })?;
                    self.at += 1;
                }
                State::Record { length, so_far } => {
                    let missing = *length - so_far.len();
                    let (now, later) = piece.split_at(missing.min(piece.len()));
                    so_far.extend_from_slice(now);
                    *piece = later;
                    self.at += now.len() as u64;
                    if now.len() < missing {
                        return Ok(None);
                    }
                    let record = std::mem::take(so_far);
                    self.state = START;
                    return Ok(Some(record));
                }
                State::Failed(error) => return Err(error.clone()),
            }
        }
    }

    /// To be asked at the end of the stream: whether it ended where a record does.
    pub fn finish(&self) -> Result<(), RecordError> {
        match &self.state {
            State::Length { digits: 0, .. } => Ok(()),
            State::Length { .. } | State::Record { .. } => {
                Err(RecordError::Incomplete { at: self.at })
            }
            State::Failed(error) => Err(error.clone()),
        }
    }

    /// Takes one byte of a length, or the line feed behind it.
    fn read_length(&mut self, byte: u8) -> Result<(), RecordError> {
        let (at, max) = (self.at, self.max_record);
        let State::Length { digits, length } = &mut self.state else { return Ok(()) };
        match byte {
            b'\n' if *digits > 0 => {
                self.state = State::Record { length: *length, so_far: Vec::new() };
            }
            b'0'..=b'9' if *digits == MAX_DIGITS => {
                return Err(RecordError::TooManyDigits { at });
            }
            b'0'..=b'9' => {
                let next =
                    length.checked_mul(10).and_then(|it| it.checked_add((byte - b'0').into()));
                *length =
                    next.filter(|length| *length <= max).ok_or(RecordError::TooLong { at, max })?;
                *digits += 1;
            }
            found => return Err(RecordError::NoDigit { at, found }),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Everything that comes of a stream in these pieces.
    fn decode(max: usize, pieces: &[&[u8]]) -> (Vec<Vec<u8>>, Result<(), RecordError>) {
        let mut decoder = Decoder::new(max);
        let mut records = Vec::new();
        for mut piece in pieces.iter().copied() {
            loop {
                match decoder.next(&mut piece) {
                    Ok(Some(record)) => records.push(record),
                    Ok(None) => break,
                    Err(error) => return (records, Err(error)),
                }
            }
            assert!(piece.is_empty());
        }
        (records, decoder.finish())
    }

    #[test]
    fn records_may_be_empty_and_hold_what_looks_like_a_length() {
        let (records, end) = decode(10, &[b"0\n0\n4\n1\n2\n1\nx"]);
        assert_eq!(records, [&b""[..], b"", b"1\n2\n", b"x"]);
        assert_eq!(end, Ok(()));
        assert_eq!(decode(10, &[]), (Vec::new(), Ok(())));
    }

    #[test]
    fn what_is_no_length_is_refused_after_the_records_before_it() {
        let digits = [&[b'0'; 21][..], b"\n"].concat();
        let cases: [(&[u8], &str); 6] = [
            (
                b"1\nx\n",
                r#"expected a digit of a record's length at byte 3 of the stream, not "\n""#,
            ),
            (
                b"1\nx-1\n",
                r#"expected a digit of a record's length at byte 3 of the stream, not "-""#,
            ),
            (
                b"1\nx5\r\n",
                r#"expected a digit of a record's length at byte 4 of the stream, not "\r""#,
            ),
            (b"1\nx11\n", "the record announced at byte 4 of the stream has more than 10 bytes"),
            (
                b"1\nx99999999999999999999",
                "the record announced at byte 4 of the stream has more than 10 bytes",
            ),
            (&digits, "the record's length at byte 20 of the stream has more than 20 digits"),
        ];
        for (stream, message) in cases {
            let (records, end) = decode(10, &[stream]);
            assert_eq!(end.unwrap_err().to_string(), message);
            assert_eq!(records.len(), usize::from(stream.starts_with(b"1")), "{message}");
        }
    }

    #[test]
    fn a_length_of_any_size_is_no_panic() {
        let (_, end) = decode(usize::MAX, &[b"18446744073709551615\n", b"x"]);
        assert_eq!(end, Err(RecordError::Incomplete { at: 22 }));
        let (_, end) = decode(usize::MAX, &[b"99999999999999999999\n"]);
        assert_eq!(end, Err(RecordError::TooLong { at: 19, max: usize::MAX }));
    }

    #[test]
    fn room_is_made_for_what_has_come_and_not_for_what_was_announced() {
        let mut decoder = Decoder::new(1 << 40);
        assert_eq!(decoder.next(&mut &b"1099511627776\nabc"[..]), Ok(None));
        let State::Record { so_far, .. } = &decoder.state else { panic!("{decoder:?}") };
        assert_eq!(so_far, b"abc");
        assert!(so_far.capacity() < 1024);
    }

    #[test]
    fn a_stream_that_ends_within_a_record_says_so() {
        for (stream, at) in [(&b"5"[..], 1), (b"5\n", 2), (b"5\nhell", 6)] {
            assert_eq!(decode(10, &[stream]).1, Err(RecordError::Incomplete { at }));
        }
    }

    #[test]
    fn after_an_error_there_is_nothing_but_that_error() {
        let mut decoder = Decoder::new(10);
        let error = RecordError::NoDigit { at: 0, found: b'x' };
        assert_eq!(decoder.next(&mut &b"x1\ny"[..]), Err(error.clone()));
        assert_eq!(decoder.next(&mut &b"1\ny"[..]), Err(error.clone()));
        assert_eq!(decoder.finish(), Err(error));
    }
}
