//! Provides the ONNX Runtime library: from PyPI, checked, into the cache where the engine looks for it.

use crate::{Outcome, process};
use sha2::{Digest, Sha256};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, io};

/// The version of ONNX Runtime that every build and test uses.
const VERSION: &str = "1.31.1";

/// A wheel on PyPI that holds the library for one kind of machine.
struct Wheel {
    /// As in `std::env::consts::ARCH`, on Linux.
    arch: &'static str,
    /// The platform tag that pip is asked for.
    platform: &'static str,
    /// SHA-256 of the whole wheel.
    sha256: &'static str,
}

const WHEELS: &[Wheel] = &[
    Wheel {
        arch: "x86_64",
        platform: "manylinux_2_28_x86_64",
        sha256: "5752bd508126ae7c49894d3b9d2e83f0c3d487319246d04c444b393308d7ad7f",
    },
    Wheel {
        arch: "aarch64",
        platform: "manylinux_2_28_aarch64",
        sha256: "da05378364c44d4407e463982d2bf8d5e4cfea873283757e48beeb41df97b7f3",
    },
];

/// Makes sure that there is an ONNX Runtime; says what it did, and nothing if there was nothing to do.
pub fn run() -> Outcome {
    if let Some(path) = env::var_os("ORT_DYLIB_PATH").filter(|path| !path.is_empty()).map(PathBuf::from) {
        let missing = || format!("ORT_DYLIB_PATH names {}, which is not a file", path.display());
        return if path.is_file() { Ok(()) } else { Err(missing()) };
    }
    let library = library_path(&cache()?);
    if library.is_file() {
        return Ok(());
    }
    let wheel = wheel_for(env::consts::OS, env::consts::ARCH)?;
    fetch(wheel, &library)?;
    println!("setup: fetched ONNX Runtime {VERSION} into {}", library.display());
    Ok(())
}

/// Where fetched things are kept.
pub fn cache() -> Outcome<PathBuf> {
    cache_dir(|name| env::var_os(name))
}

/// `$BITQUAKE_CACHE`, else `$XDG_CACHE_HOME/bitquake`, else `~/.cache/bitquake`.
fn cache_dir(variable: impl Fn(&str) -> Option<OsString>) -> Outcome<PathBuf> {
    let path = |name| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    path("BITQUAKE_CACHE")
        .or_else(|| path("XDG_CACHE_HOME").map(|dir| dir.join("bitquake")))
        .or_else(|| path("HOME").map(|dir| dir.join(".cache").join("bitquake")))
        .ok_or_else(|| "no place for the cache: set BITQUAKE_CACHE or HOME".to_owned())
}

fn library_path(cache: &Path) -> PathBuf {
    cache.join(format!("onnxruntime-{VERSION}")).join(format!("libonnxruntime.so.{VERSION}"))
}

fn wheel_for(os: &str, arch: &str) -> Outcome<&'static Wheel> {
    let found = WHEELS.iter().find(|wheel| os == "linux" && wheel.arch == arch);
    found.ok_or_else(|| {
        format!("no ONNX Runtime is pinned for {arch} {os}: install version {VERSION} and set ORT_DYLIB_PATH to its library")
    })
}

/// Downloads, checks and unpacks in a folder beside the final one, then renames: no half file gets the final name.
fn fetch(wheel: &Wheel, library: &Path) -> Outcome {
    let home = library.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(home).map_err(|error| format!("cannot make {}: {error}", home.display()))?;
    let work = tempfile::Builder::new().prefix(".partial-").tempdir_in(home);
    let work = work.map_err(|error| format!("cannot write in {}: {error}", home.display()))?;
    let archive = download(wheel, work.path())?;
    verify(&archive, wheel.sha256)?;
    process::capture(python().args(["-m", "zipfile", "-e"]).arg(&archive).arg(work.path()))?;
    let package = work.path().join("onnxruntime");
    for notice in ["LICENSE", "ThirdPartyNotices.txt"] {
        rename(&package.join(notice), &home.join(notice))?;
    }
    rename(&package.join("capi").join(format!("libonnxruntime.so.{VERSION}")), library)
}

/// The wheel, fetched by pip into `dir`, for the pinned machine whatever Python runs here.
fn download(wheel: &Wheel, dir: &Path) -> Outcome<PathBuf> {
    process::capture(python().args(["-m", "pip", "--version"])).map_err(|error| {
        format!(
            "Python 3 with pip is needed to fetch ONNX Runtime (Debian: apt-get install python3-pip)\n{error}"
        )
    })?;
    println!("setup: fetching ONNX Runtime {VERSION} (24 MB) from PyPI");
    let mut pip = python();
    pip.args(["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]);
    pip.args(["--only-binary=:all:", "--python-version", "3.11", "--implementation", "cp", "--abi", "cp311"]);
    pip.args(["--platform", wheel.platform]).arg("-d").arg(dir).arg(format!("onnxruntime=={VERSION}"));
    process::capture(&mut pip).map_err(|error| format!("pip could not fetch ONNX Runtime: {error}"))?;
    let files = fs::read_dir(dir).map_err(|error| format!("cannot read {}: {error}", dir.display()))?;
    let is_wheel = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "whl");
    let found = files.flatten().map(|entry| entry.path()).find(is_wheel);
    found.ok_or_else(|| format!("pip ended well but left no wheel in {}", dir.display()))
}

/// `$PYTHON`, else `python3`.
pub fn python() -> Command {
    Command::new(env::var_os("PYTHON").unwrap_or_else(|| "python3".into()))
}

fn verify(file: &Path, wanted: &str) -> Outcome {
    let got = sha256(file).map_err(|error| format!("cannot read {}: {error}", file.display()))?;
    if got == wanted {
        return Ok(());
    }
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    Err(format!(
        "{name} is not the file that was pinned, and was thrown away\n  SHA-256 wanted {wanted}\n  SHA-256 got    {got}"
    ))
}

/// The hash as lower-case hexadecimal digits.
fn sha256(file: &Path) -> io::Result<String> {
    let bytes = fs::read(file)?;
    Ok(Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect())
}

fn rename(from: &Path, to: &Path) -> Outcome {
    fs::rename(from, to)
        .map_err(|error| format!("cannot move {} to {}: {error}", from.display(), to.display()))
}

#[cfg(test)]
mod tests {
    use super::{cache_dir, library_path, verify, wheel_for};
    use std::ffi::OsString;
    use std::path::{Path, PathBuf};

    fn cache_with(set: &[(&str, &str)]) -> Result<PathBuf, String> {
        cache_dir(|name| set.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value)))
    }

    #[test]
    fn the_cache_is_the_first_place_that_is_set() {
        let all = [("BITQUAKE_CACHE", "/b"), ("XDG_CACHE_HOME", "/x"), ("HOME", "/h")];
        assert_eq!(cache_with(&all).unwrap(), Path::new("/b"));
        assert_eq!(cache_with(&all[1..]).unwrap(), Path::new("/x/bitquake"));
        assert_eq!(cache_with(&all[2..]).unwrap(), Path::new("/h/.cache/bitquake"));
        assert_eq!(
            cache_with(&[("BITQUAKE_CACHE", ""), ("HOME", "/h")]).unwrap(),
            Path::new("/h/.cache/bitquake")
        );
        assert!(cache_with(&[]).unwrap_err().contains("BITQUAKE_CACHE"));
    }

    #[test]
    fn the_library_is_where_the_engine_looks() {
        let wanted = Path::new("/c/onnxruntime-1.31.1/libonnxruntime.so.1.31.1");
        assert_eq!(library_path(Path::new("/c")), wanted);
    }

    #[test]
    fn only_pinned_machines_have_a_wheel() {
        assert_eq!(wheel_for("linux", "aarch64").unwrap().platform, "manylinux_2_28_aarch64");
        for (os, arch) in [("macos", "aarch64"), ("linux", "riscv64")] {
            assert!(wheel_for(os, arch).err().unwrap().contains("ORT_DYLIB_PATH"));
        }
    }

    #[test]
    fn a_changed_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.whl");
        std::fs::write(&file, "abc").unwrap();
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(verify(&file, abc), Ok(()));
        std::fs::write(&file, "abd").unwrap();
        assert!(verify(&file, abc).unwrap_err().contains(abc));
    }
}
