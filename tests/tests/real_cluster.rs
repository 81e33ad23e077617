use satellite_tests::cluster::Cluster;
use satellite_tests::run::Run;
fn main() {
    let t = std::time::Instant::now();
    let run = Run::start("try").unwrap();
    let c = Cluster::start(&run, |s| println!("{:?} {s}", t.elapsed())).unwrap();
    println!("{:?}", satellite_tests::reaper::marked_processes(run.folder()).unwrap().len());
    std::process::Command::new("sh").arg("-c").arg(format!("ps axo pid,ppid,rss,args | grep -E 'mesos-|executor' ; for p in $(pgrep -f mesos-containerizer); do tr '\\0' '\\n' </proc/$p/environ | head -30; done")).status().unwrap();
    if std::env::var("HOLD").is_ok() { std::thread::sleep(std::time::Duration::from_secs(20)); }
    drop(c);
    println!("{:?} dropped cluster", t.elapsed());
    println!("{:?}", satellite_tests::reaper::marked_processes(run.folder()).unwrap().len());
    drop(run);
    println!("{:?} done", t.elapsed());
}
