#[path = "../tests/support/mod.rs"]
mod support;
use support::*;
use std::time::Instant;
use std::fs;
use stillpoint_archive::*;
use stillpoint_model::*;
fn main() {
    let base = std::path::PathBuf::from(std::env::args().nth(1).unwrap());
    let source = base.join("source");
    if !source.exists() {
        let mut block = vec![0u8; 80_000];
        let mut x = 88172645463325252u64;
        for b in block.iter_mut() { x ^= x << 13; x ^= x >> 7; x ^= x << 17; *b = x as u8; }
        for d in 0..100 { let dir = source.join(format!("d{d}")); fs::create_dir_all(&dir).unwrap();
            for f in 0..500 { let len = 1000 + (d * 500 + f) * 7919 % 78_000; block[0] = f as u8; block[1] = d as u8; fs::write(dir.join(format!("f{f}")), &block[..len]).unwrap(); } }
        run("sync", &[]);
    }
    let destination = one_folder(&base.join("backup"));
    for number in 1..=3 {
        let t = Instant::now();
        let mut r = TestRun::begin(&base, &destination, number).unwrap();
        let t1 = t.elapsed();
        r.tree("web", Place::SiteServer, "", walked(&source)).unwrap();
        let t2 = t.elapsed();
        let set = r.publish().unwrap();
        let t3 = t.elapsed();
        println!("run {number}: begin {t1:.1?} tree {:.2?} publish {:.2?} all {t3:.2?} {:?}", t2 - t1, t3 - t2, set.size(&name("web")));
    }
    let t = Instant::now();
    println!("{:?} verify {:.2?}", damage(&BackupSet::open(&base.join("backup")).unwrap()).len(), t.elapsed());
}
