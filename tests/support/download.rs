//! Fetches files from a Maven repository into a cache, each checked against its pinned checksum.
//! Knows nothing of what the files are.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest, Sha256};

use super::block_on;

/// Another repository than Maven Central: its base url.
const REPOSITORY_VARIABLE: &str = "CONSOLIDATOR_TEST_MAVEN";
const CENTRAL: &str = "https://repo.maven.apache.org/maven2";
/// Attempts per file, for a network that hiccups.
const TRIES: u32 = 3;

/// A file of the repository, as it must be.
#[derive(Debug)]
pub struct Pinned<'a> {
    pub sha256: &'a str,
    pub path: &'a str,
}

/// Reads a list of lines `sha256 bytes path`; lines that begin with `#` are comments.
pub fn parse_list(list: &str) -> Vec<Pinned<'_>> {
    let lines = list.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let mut words = line.split_whitespace();
            let sha256 = words.next().expect("a checksum");
            let path = words.nth(1).expect("a path");
            Pinned { sha256, path }
        })
        .collect()
}

/// Makes sure that all files are in `cache`, and gives their places.
pub fn fetch_all(files: &[Pinned<'_>], cache: &Path) -> Vec<PathBuf> {
    fs::create_dir_all(cache).unwrap();
    files.iter().map(|file| fetch(file, cache)).collect()
}

fn fetch(file: &Pinned<'_>, cache: &Path) -> PathBuf {
    let name = file.path.rsplit('/').next().expect("a file name");
    let place = cache.join(name);
    if fs::read(&place).is_ok_and(|bytes| sha256(&bytes) == file.sha256) {
        return place;
    }
    let bytes = download(file.path);
    let found = sha256(&bytes);
    let expected = file.sha256;
    assert_eq!(
        found, expected,
        "{} is not the file that is pinned",
        file.path
    );
    // Renamed when complete: another test process may be doing the same.
    let part = cache.join(format!("{name}.{}", std::process::id()));
    fs::write(&part, bytes).unwrap();
    fs::rename(&part, &place).unwrap();
    place
}

fn download(path: &str) -> Vec<u8> {
    let base = std::env::var(REPOSITORY_VARIABLE).unwrap_or_else(|_| CENTRAL.to_owned());
    let url = format!("{}/{path}", base.trim_end_matches('/'));
    let mut failure = String::new();
    for _ in 0..TRIES {
        match block_on(get(&url)) {
            Ok(bytes) => return bytes,
            Err(error) => failure = format!("{error:?}"),
        }
    }
    download_with_maven(path)
        .unwrap_or_else(|error| panic!("cannot fetch {url}: {failure}; {error}"))
}

async fn get(url: &str) -> reqwest::Result<Vec<u8>> {
    // An error means that it was installed before.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let response = reqwest::get(url).await?.error_for_status()?;
    Ok(response.bytes().await?.to_vec())
}

/// Where only Maven is set up for the network, it fetches the file into its own repository.
fn download_with_maven(path: &str) -> Result<Vec<u8>, String> {
    let mut parts: Vec<&str> = path.split('/').collect();
    parts.pop();
    let (version, artifact) = (parts.pop(), parts.pop());
    let (Some(version), Some(artifact)) = (version, artifact) else {
        return Err(format!("{path} is no path of an artifact"));
    };
    let coordinates = format!("{}:{artifact}:{version}", parts.join("."));
    let status = Command::new("mvn")
        .args(["-q", "-B", "dependency:get", "-Dtransitive=false"])
        .arg(format!("-Dartifact={coordinates}"))
        .status()
        .map_err(|error| format!("no Maven either: {error}"))?;
    if !status.success() {
        return Err("Maven could not fetch it either".to_owned());
    }
    let home = std::env::var("HOME").map_err(|error| error.to_string())?;
    let place = Path::new(&home).join(".m2/repository").join(path);
    fs::read(&place).map_err(|error| format!("{}: {error}", place.display()))
}

fn sha256(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
