//! Source: one entry of each form as a frame, beside one of the agent's of that size.

use std::hint::black_box;
use std::sync::Arc;

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput};
use taskcast::core::encode;
use taskcast::core::source::{Definition, Form, Rule, Source};
use taskcast::id::ThreadId;
use taskcast::log::Entry;

use crate::sample;

/// A task of a source whose entries are of a form; with rules as most have them.
fn task(form: Form, rules: bool) -> ThreadId {
    let path = |path: &str| path.to_owned();
    let end = Rule::In { path: path("status"), values: vec![path("done"), path("error")] };
    let definition = Definition {
        name: "jobs".into(),
        key: "jobs:{id}".into(),
        field: (form != Form::Fields).then(|| "data".into()),
        form,
        types: if rules { vec![path("event"), path("type")] } else { Vec::new() },
        end: if rules { vec![end] } else { Vec::new() },
        ..Definition::default()
    };
    let source = Arc::new(Source::new(definition).unwrap());
    ThreadId::of(&source, sample::thread().as_str()).unwrap()
}

/// About so many bytes, as publishers of that form write them.
fn entry(form: Form, bytes: usize) -> Entry {
    let text = "Reading logs. ".repeat(bytes / 14);
    let object = |text: &str| format!(r#"{{"type":"progress","step":3,"message":"{text}"}}"#);
    let piece = &text[..text.len().min(bytes / 8)];
    let data = match form {
        Form::Fields => return sample::entry(1, bytes),
        Form::Json => object(&text[..text.len() - 45]),
        Form::Text | Form::Base64 => text,
        Form::Ndjson => (0..6).map(|_| object(piece) + "\n").collect(),
        Form::Sse => (0..6).map(|_| format!("event: step\ndata: {}\n\n", object(piece))).collect(),
    };
    Entry { id: sample::id(1), fields: vec![(Bytes::from("data"), Bytes::from(data))] }
}

pub(crate) fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("source");
    let account = sample::account();
    for (size, bytes) in [("400 B", 400), ("40 KB", 40_000)] {
        let mut one = |name: &str, thread: &ThreadId, entry: Entry| {
            let entries = [entry];
            group.throughput(Throughput::Bytes(entries[0].bytes_len() as u64));
            group.bench_function(BenchmarkId::new(name, size), |bencher| {
                bencher
                    .iter(|| encode::entries(&account, thread, sample::id(0), black_box(&entries)));
            });
        };
        one("the agent's", &sample::thread(), sample::entry(1, bytes));
        one("fields, no rules", &task(Form::Fields, false), sample::entry(1, bytes));
        for (name, form) in Form::NAMES {
            one(name, &task(form, true), entry(form, bytes));
        }
    }
    group.finish();
}
