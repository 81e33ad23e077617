//! RecordIO: a stream gives the same records and ends the same way however it is cut. The
//! first byte of the input decides how.
#![no_main]

use satellite_mesos::wire::recordio::{Decoder, RecordError};

/// The longest record. Inputs are longer, so that this limit is met as well.
const MAX: usize = 16 * 1024;

fn decode<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<Vec<u8>>, Result<(), RecordError>) {
    let mut decoder = Decoder::new(MAX);
    let mut records = Vec::new();
    for mut piece in pieces {
        loop {
            match decoder.next(&mut piece) {
                Ok(Some(record)) => records.push(record),
                Ok(None) => break,
                Err(error) => {
                    assert_eq!(decoder.finish(), Err(error.clone()));
                    return (records, Err(error));
                }
            }
        }
        assert!(piece.is_empty(), "what is left would be lost");
    }
    (records, decoder.finish())
}

/// Cuts `stream` into pieces of 0 to 15 bytes and sometimes of more, as `seed` has it.
fn pieces(mut stream: &[u8], mut seed: u64) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let small = (seed >> 60) as usize;
        let length = if seed >> 56 & 0xf == 0 { small * 1000 } else { small };
        let (piece, rest) = stream.split_at(length.min(stream.len()));
        let is_over = stream.is_empty();
        stream = rest;
        (!is_over).then_some(piece)
    })
}

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let Some((seed, stream)) = input.split_first() else { return };
    let (records, end) = decode(std::iter::once(stream));
    assert_eq!(decode(pieces(stream, u64::from(*seed))), (records.clone(), end.clone()));
    assert_eq!(decode(stream.chunks(1)), (records.clone(), end.clone()));
    // The records are what is in the stream, and all of it where it ends well.
    let mut rest = stream;
    for record in &records {
        let digits = rest.iter().position(|byte| *byte == b'\n').expect("a length has an end");
        assert_eq!(&rest[digits + 1..][..record.len()], record);
        assert!(record.len() <= MAX);
        rest = &rest[digits + 1 + record.len()..];
    }
    assert_eq!(rest.is_empty(), end.is_ok(), "{end:?}");
});
