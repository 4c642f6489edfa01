//! Finding and loading ONNX Runtime.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use ort::environment::Environment;

use crate::error::EngineError;

/// The version that `cargo xtask setup` fetches and tests run with.
pub const RUNTIME_VERSION: &str = "1.31.1";

/// ONNX Runtime, loaded once for the process.
pub struct Runtime {
    environment: Environment,
    path: PathBuf,
}

static RUNTIME: OnceLock<Result<Runtime, EngineError>> = OnceLock::new();

impl Runtime {
    /// Loads the library, on the first call, from the first of these places that exists: `ORT_DYLIB_PATH`; beside the
    /// executable; the cache that `cargo xtask setup` fills; the `onnxruntime` package of the `python3` on the path. Started from
    /// Python the package of that Python comes first, which is told by `ORT_DYLIB_PATH`.
    ///
    /// # Errors
    /// [`EngineError::NoRuntime`] tells the places looked at and the command that mends it; [`EngineError::Runtime`] is the
    /// loader's own message.
    pub fn load() -> Result<&'static Self, EngineError> {
        RUNTIME.get_or_init(Self::load_now).as_ref().map_err(Clone::clone)
    }

    fn load_now() -> Result<Self, EngineError> {
        let path = locate()?;
        let failed = |error: String| EngineError::Runtime { path: path.clone(), message: error };
        let environment = ort::init_from(&path)
            .map_err(|error| failed(error.to_string()))?
            .with_name("bitquake")
            .with_telemetry(false)
            .build()
            .map_err(|error| failed(error.to_string()))?;
        // Warnings about odd models would land in the middle of the progress bar; errors come back as values anyway.
        environment.set_log_level(ort::logging::LogLevel::Fatal);
        Ok(Self { environment, path })
    }

    /// The environment in which sessions are built.
    #[must_use]
    pub fn environment(&self) -> &Environment {
        &self.environment
    }

    /// The library's file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The library's version, such as `1.31.1`, from the name of its file; for a file without one, what the library says of
    /// its build.
    #[must_use]
    pub fn version(&self) -> String {
        let real = self.path.canonicalize().unwrap_or_else(|_| self.path.clone());
        let name = real.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        version_in(&name).unwrap_or_else(|| ort::info().to_owned())
    }
}

/// The first `a.b.c` in a file name.
fn version_in(name: &str) -> Option<String> {
    let is_number = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_digit());
    let parts: Vec<&str> = name.split('.').collect();
    parts.windows(3).find(|three| three.iter().all(|part| is_number(part))).map(|three| three.join("."))
}

fn library_name() -> String {
    if cfg!(target_os = "macos") {
        format!("libonnxruntime.{RUNTIME_VERSION}.dylib")
    } else if cfg!(windows) {
        "onnxruntime.dll".into()
    } else {
        format!("libonnxruntime.so.{RUNTIME_VERSION}")
    }
}

fn locate() -> Result<PathBuf, EngineError> {
    if let Some(named) = std::env::var_os("ORT_DYLIB_PATH").filter(|path| !path.is_empty()) {
        let path = PathBuf::from(named);
        return if path.exists() { Ok(path) } else { Err(EngineError::NoRuntime { looked: vec![path] }) };
    }
    let places = [beside_executable(), in_cache()];
    let mut looked: Vec<PathBuf> = places.into_iter().flatten().collect();
    if let Some(found) = looked.iter().find(|path| path.exists()) {
        return Ok(found.clone());
    }
    match in_python_package() {
        Some(found) => Ok(found),
        None => {
            looked.push("the onnxruntime package of python3".into());
            Err(EngineError::NoRuntime { looked })
        }
    }
}

fn beside_executable() -> Option<PathBuf> {
    let executable = std::env::current_exe().ok()?;
    Some(executable.parent()?.join(library_name()))
}

/// Where `cargo xtask setup` puts it.
fn in_cache() -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = set("BITQUAKE_CACHE")
        .or_else(|| set("XDG_CACHE_HOME").map(|cache| cache.join("bitquake")))
        .or_else(|| set("HOME").map(|home| home.join(".cache/bitquake")))?;
    Some(cache.join(format!("onnxruntime-{RUNTIME_VERSION}")).join(library_name()))
}

/// Asks Python where the package is, without importing it.
fn in_python_package() -> Option<PathBuf> {
    const WHERE: &str =
        "import importlib.util as u; s = u.find_spec('onnxruntime'); print(s.submodule_search_locations[0])";
    let output = std::process::Command::new("python3").args(["-c", WHERE]).output().ok()?;
    let package = String::from_utf8(output.stdout).ok().filter(|_| output.status.success())?;
    let folder = Path::new(package.trim()).join("capi");
    let is_library = |path: &PathBuf| {
        path.file_name()
            .and_then(|name| name.to_str())
            .is_some_and(|name| name.starts_with("libonnxruntime.so."))
    };
    std::fs::read_dir(folder).ok()?.filter_map(Result::ok).map(|entry| entry.path()).find(is_library)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_file_names() {
        assert_eq!(version_in("libonnxruntime.so.1.31.1").as_deref(), Some("1.31.1"));
        assert_eq!(version_in("libonnxruntime.1.31.1.dylib").as_deref(), Some("1.31.1"));
        assert_eq!(version_in("onnxruntime.dll"), None);
    }

    #[test]
    fn the_library_is_found_and_names_its_version() {
        let runtime = Runtime::load().unwrap();
        assert!(runtime.path().is_file() && !runtime.version().is_empty());
    }
}
