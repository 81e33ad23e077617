//! Files, good and bad.
//!
//! Each `*.good.yml` beside this file loads. Each `*.bad.yml` has a `*.bad.txt` with all of
//! its problems. `UPDATE_GOLDEN=1` writes those anew; read the difference before it is
//! committed.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use satellite_toolkit::web::Web;
use tempfile::TempDir;

use crate::certificates::Authority;

fn files(suffix: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/web");
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> =
        entries.filter(|path| path.to_string_lossy().ends_with(suffix)).collect();
    files.sort();
    assert!(!files.is_empty());
    files
}

/// A folder with all the certificates that the files name.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    authority.server().write(folder.path());
    fs::write(folder.path().join("ca.pem"), authority.pem()).unwrap();
    fs::write(folder.path().join("other.key"), authority.server().key).unwrap();
    fs::write(folder.path().join("text.pem"), "no certificate\n").unwrap();
    fs::write(folder.path().join("large.pem"), vec![b'x'; 2 << 20]).unwrap();
    folder
}

/// Every problem of a text, with the folder left out of it.
fn problems(folder: &TempDir, name: &str, text: &str) -> String {
    let path = folder.path().join(name);
    fs::write(&path, text).unwrap();
    let prefix = format!("{}/", folder.path().display());
    let problems = Web::load(&path).err().unwrap_or_default();
    problems.iter().map(|it| format!("{}\n", it.to_string().replace(&prefix, ""))).collect()
}

#[test]
fn every_good_file_loads() {
    let folder = folder();
    for file in files(".good.yml") {
        let name = file.file_name().unwrap().to_str().unwrap();
        assert_eq!(problems(&folder, name, &fs::read_to_string(&file).unwrap()), "");
    }
}

#[test]
fn every_bad_file_is_refused_with_all_of_its_problems() {
    let folder = folder();
    for file in files(".bad.yml") {
        let name = file.file_name().unwrap().to_str().unwrap();
        let found = problems(&folder, name, &fs::read_to_string(&file).unwrap());
        let golden = file.with_extension("txt");
        if env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&golden, &found).unwrap();
        }
        let expected = fs::read_to_string(&golden).unwrap();
        assert_eq!(found, expected, "{name}");
        assert!(!found.is_empty(), "{name} is good");
    }
}

#[test]
fn too_many_users_are_refused() {
    let text: String = (0..101).map(|n| format!("  u{n}: {}\n", hash())).collect();
    let found = problems(&folder(), "w.yml", &format!("basic_auth_users:\n{text}"));
    assert_eq!(found, "w.yml:2:3: basic_auth_users: at most 100 users are allowed\n");
}

#[test]
fn a_certificate_may_stand_in_the_file_itself() {
    let folder = folder();
    let server = Authority::new().server();
    let block = |pem: &str| -> String { pem.lines().map(|line| format!("    {line}\n")).collect() };
    let (certificate, key) = (block(&server.certificate), block(&server.key));
    let text = format!("tls_server_config:\n  cert: |\n{certificate}  key: |\n{key}");
    assert_eq!(problems(&folder, "w.yml", &text), "");
    let both = format!("{text}  cert_file: server.pem\n  key_file: server.key\n");
    let found = problems(&folder, "w.yml", &both);
    assert!(found.contains("w.yml:2:9: tls_server_config.cert: is given beside cert_file"));
    assert!(found.contains("tls_server_config.key: is given beside key_file"), "{found}");
    assert_eq!(found.lines().count(), 2, "{found}");
}

fn hash() -> String {
    bcrypt::hash("nobody's", 4).unwrap()
}
