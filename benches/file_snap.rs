//! How fast is a snapshot file read into a tree: parsed, checksummed, digested and sorted?

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use testing::evolving::{EvolvingDir, Setup};
use testing::generate::{BENCH_SEED, Tree};
use zk_format::file_snap::{self, ReadLimits};
use zk_format::tree::FlatTree;

const NODES: usize = 100_000;

fn parse(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let directory =
        EvolvingDir::create(folder.path(), Tree::build(NODES, BENCH_SEED), Setup::default()).expect("a data directory");
    let (zxid, bytes) = std::fs::read_dir(directory.snapshot_dir())
        .expect("its files")
        .flatten()
        .find_map(|entry| {
            let (zxid, _) = file_snap::parse_name(entry.file_name().to_str()?)?;
            Some((zxid, std::fs::read(entry.path()).ok()?))
        })
        .expect("its snapshot file");
    let mut group = criterion.benchmark_group("file_snap");
    group.throughput(Throughput::Elements(NODES as u64));
    group.bench_function("parse", |bencher| {
        bencher.iter_batched(
            || bytes.clone(),
            |bytes| black_box(FlatTree::parse(bytes, zxid, &ReadLimits::default()).expect("a sound file")),
            criterion::BatchSize::LargeInput,
        );
    });
    group.finish();
}

criterion_group!(benches, parse);
criterion_main!(benches);
