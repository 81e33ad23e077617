//! Whether the simulation would notice: each fault is put into a copy of the
//! sources, and the simulation must find it and name the invariant.
//!
//! A fault is a piece of text of one file and what stands in its place. Where that
//! text is no more, the fault has to be written anew, and its case fails.

mod faults;

use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail, ensure};
use libtest_mimic::{Arguments, Failed, Trial};

use self::faults::{FAULTS, FAULTS_OF_SEVERAL, Fault};

/// The seeds that a fault may take to be found: far fewer than `make test-all` runs. Most
/// are found among the first hundred.
const SEEDS: &str = "4000";

fn main() -> std::process::ExitCode {
    let mut arguments = Arguments::from_args();
    // They share one copy of the sources.
    arguments.test_threads = Some(1);
    let copy = match Copy::make() {
        Ok(copy) => copy,
        Err(error) => {
            eprintln!("cannot copy the sources: {error:#}");
            return std::process::ExitCode::FAILURE;
        }
    };
    let trial = |fault: &'static Fault, test: &'static str| {
        let copy = copy.clone();
        Trial::test(fault.name, move || {
            copy.is_found(fault, test).map_err(|error| Failed::from(format!("{error:#}")))
        })
    };
    let alone = FAULTS.iter().map(|fault| trial(fault, "no_seed_breaks"));
    let several = FAULTS_OF_SEVERAL.iter().map(|fault| trial(fault, "no_seed_of_several"));
    libtest_mimic::run(&arguments, alone.chain(several).collect()).exit_code()
}

/// A copy of the sources to break.
#[derive(Clone)]
struct Copy {
    sources: PathBuf,
    folder: PathBuf,
    /// Where the copy is built. Not where the sources are: cargo would take the one's
    /// output for the other's, since both have the same names.
    target: PathBuf,
}

impl Copy {
    fn make() -> Result<Self> {
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize()?;
        let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
        let target = target.map_or_else(|| sources.join("target"), |it| sources.join(it));
        let folder = target.join("seeded-faults");
        let copy = Self { target: target.join("seeded-faults-build"), folder, sources };
        let files = copy.files()?;
        for file in &files {
            copy.restore(file)?;
        }
        let kept = files.iter().map(|file| copy.folder.join(file)).collect();
        remove_all_but(&kept, &copy.folder)?;
        Ok(copy)
    }

    /// Every file that git knows or would take.
    fn files(&self) -> Result<Vec<String>> {
        let list = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"];
        let output = Command::new("git").arg("-C").arg(&self.sources).args(list).output()?;
        ensure!(output.status.success(), "git ls-files: {}", output.status);
        let names = String::from_utf8(output.stdout)?;
        let files = names.split('\0').filter(|name| self.sources.join(name).is_file());
        Ok(files.map(str::to_owned).collect())
    }

    /// Puts a file as it is in the sources. One that is so already is left alone,
    /// so that nothing is built again for it.
    fn restore(&self, file: &str) -> Result<()> {
        let (from, to) = (self.sources.join(file), self.folder.join(file));
        let content = fs::read(&from).with_context(|| format!("cannot read {}", from.display()))?;
        if fs::read(&to).ok().as_ref() == Some(&content) {
            return Ok(());
        }
        fs::create_dir_all(to.parent().context("a file is in a folder")?)?;
        fs::write(&to, content).with_context(|| format!("cannot write {}", to.display()))
    }

    /// Runs a test of the simulation with the fault, and fails unless that does, for
    /// the right reason.
    fn is_found(&self, fault: &Fault, test: &str) -> Result<()> {
        let path = self.folder.join(fault.file);
        let whole = fs::read_to_string(&path)?;
        let places = whole.matches(fault.text).count();
        ensure!(places == 1, "{} has {places} times {:?}", fault.file, fault.text);
        fs::write(&path, whole.replace(fault.text, fault.instead))?;
        let outcome = self.simulate(test);
        self.restore(fault.file)?;
        let told = outcome?;
        let Some(verdict) = told.lines().find(|line| line.starts_with("seed ")) else {
            bail!("the simulation has not come to a verdict:\n{told}");
        };
        eprintln!("{}: {verdict}", fault.name);
        let broken = fault.breaks.iter().any(|it| verdict.contains(&format!(": {it}: ")));
        ensure!(broken, "it should break one of {:?}", fault.breaks);
        Ok(())
    }

    fn simulate(&self, test: &str) -> Result<String> {
        let mut cargo = Command::new(env!("CARGO"));
        cargo
            .args(["test", "--package", "satellite-remediator", "--lib"])
            .args([test, "--", "--nocapture"])
            .current_dir(&self.folder)
            .env("CARGO_TARGET_DIR", &self.target)
            .env("SATELLITE_SEEDS", SEEDS)
            .env_remove("SATELLITE_SEED")
            .env("RUST_BACKTRACE", "0");
        let output = cargo.output().context("cannot run cargo")?;
        let told = [output.stdout, output.stderr].concat();
        let told = String::from_utf8_lossy(&told).into_owned();
        ensure!(!output.status.success(), "no seed of {SEEDS} has found it:\n{told}");
        Ok(told)
    }
}

/// Removes the files below `folder` that are not among `kept`: the sources no longer have
/// them, and what is left of them would be built, too.
fn remove_all_but(kept: &HashSet<PathBuf>, folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            remove_all_but(kept, &path)?;
        } else if !kept.contains(&path) {
            fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        }
    }
    Ok(())
}
