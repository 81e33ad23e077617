//! Where things lie on disk: the built programs, the installed peers, the
//! sources. Found from the running executable, so that it holds for any target
//! directory and for tests, the demo and the reaper alike.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

/// Cargo's target directory, which `CARGO_TARGET_DIR` may have moved.
pub fn target_dir() -> Result<PathBuf> {
    let profile = profile_dir()?;
    profile.parent().map(Path::to_path_buf).context("the built programs lie in no target directory")
}

/// The folder with the built programs: `target/debug`, say.
fn profile_dir() -> Result<PathBuf> {
    let executable = std::env::current_exe().context("find the running executable")?;
    let folder = executable.parent().context("the executable has no folder")?;
    Ok(if folder.ends_with("deps") { folder.parent().unwrap_or(folder) } else { folder }.to_owned())
}

/// The root of the sources.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests crate lies in the workspace")
}

/// A file of `tests/peers/`.
pub fn peer_source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("peers").join(name)
}

/// A program of this workspace, as last built.
pub fn built(program: &str) -> Result<PathBuf> {
    let path = profile_dir()?.join(program);
    if !path.is_file() {
        bail!("{} is not built: run `cargo build --workspace --bins`", path.display());
    }
    Ok(path)
}

/// Builds all programs of the workspace into the profile that is running, so
/// that no test runs a stale one. Takes a fraction of a second when nothing
/// changed.
pub fn build_programs() -> Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    build.current_dir(workspace()).args(["build", "--quiet", "--workspace", "--bins"]);
    if profile_dir()?.ends_with("release") {
        build.arg("--release");
    }
    // Cargo tells a test of which package it is, and build scripts run again for what
    // is told otherwise than at the last build.
    for (name, _) in std::env::vars_os().filter(|(name, _)| is_of_package(name)) {
        build.env_remove(name);
    }
    let status = build.status().context("start cargo")?;
    if !status.success() {
        bail!("the workspace does not build ({status})");
    }
    Ok(())
}

fn is_of_package(variable: &OsStr) -> bool {
    let name = variable.to_string_lossy();
    ["CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|prefix| name.starts_with(prefix))
}

/// A file that `tests/peers/install.sh` installs below the target directory, or
/// an error that says to run it.
pub fn installed_peer(path: &str) -> Result<PathBuf> {
    require(target_dir()?.join("peers").join(path))
}

/// A program or file of a Debian package, or an error that says how to get it.
pub fn debian(path: &str) -> Result<PathBuf> {
    require(PathBuf::from(path))
}

fn require(path: PathBuf) -> Result<PathBuf> {
    if !path.exists() {
        bail!("{} is not installed: run tests/peers/install.sh", path.display());
    }
    Ok(path)
}
