//! The event stream of a real master is the same records however the network cuts it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use proptest::prelude::*;
use satellite_mesos::wire::recordio::Decoder;

/// What a subscriber to the operator API of Mesos 1.11.0 was sent.
const STREAM: &[u8] = include_bytes!("fixtures/operator_event_stream.recordio");

/// Above the longest record of [`STREAM`].
const MAX: usize = 64 * 1024;

fn decode<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<Vec<u8>> {
    let mut decoder = Decoder::new(MAX);
    let mut records = Vec::new();
    for mut piece in pieces {
        while let Some(record) = decoder.next(&mut piece).unwrap() {
            records.push(record);
        }
    }
    decoder.finish().unwrap();
    records
}

#[test]
fn a_recorded_stream_is_events_from_its_first_byte_to_its_last() {
    let records = decode([STREAM]);
    let types: Vec<_> = records
        .iter()
        .map(|record| {
            let event: serde_json::Value = serde_json::from_slice(record).unwrap();
            event["type"].as_str().unwrap().to_owned()
        })
        .collect();
    assert_eq!(types[0], "SUBSCRIBED");
    assert!(types.iter().any(|it| it == "TASK_UPDATED"), "{types:?}");
    assert!(types.iter().any(|it| it == "HEARTBEAT"), "{types:?}");
    let lines = records.iter().map(|record| record.len().to_string().len() + 1 + record.len());
    assert_eq!(lines.sum::<usize>(), STREAM.len());
}

#[test]
fn it_gives_the_same_records_wherever_it_is_cut() {
    let whole = decode([STREAM]);
    for at in 0..=STREAM.len() {
        let (before, after) = STREAM.split_at(at);
        assert!(decode([before, after]) == whole, "cut at {at}");
    }
    assert!(decode(STREAM.chunks(1)) == whole, "byte by byte");
}

proptest! {
    #[test]
    fn any_records_come_back(
        records in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..10),
        piece in 1..50usize,
    ) {
        let framed = |record: &Vec<u8>| [format!("{}\n", record.len()).as_bytes(), record].concat();
        let stream: Vec<u8> = records.iter().flat_map(framed).collect();
        prop_assert_eq!(decode(stream.chunks(piece)), records);
    }
}
