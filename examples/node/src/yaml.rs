//! YAML files: how large they may be, and how deep they may nest. What aliases add is limited by the
//! parser: by default to what no file of these needs.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use serde::de::DeserializeOwned;

/// The text of a file.
///
/// # Errors
/// It cannot be read, or is over [`FILE_BYTES_MAX`].
pub(crate) fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let max = FILE_BYTES_MAX as u64;
    File::open(path)?.take(max + 1).read_to_string(&mut text)?;
    if text.len() > FILE_BYTES_MAX {
        let message = format!("it has more than {FILE_BYTES_MAX} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
    }
    Ok(text)
}

/// What a text says. Of one that may nest deep, [`deep`] is to be around it.
pub(crate) fn parse<T: DeserializeOwned>(text: &str) -> Result<T, serde_saphyr::Error> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! { max_depth: DEPTH_MAX },
    };
    serde_saphyr::from_str_with_options(text, options)
}

/// Runs what goes as deep as a file does, where the stack is large enough for it.
///
/// # Panics
/// The system has no thread for it.
pub(crate) fn deep<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let builder = std::thread::Builder::new().stack_size(STACK_BYTES);
        let thread = builder.spawn_scoped(scope, work);
        let ended = thread.expect("there is a thread to read a file on").join();
        ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// The largest file: thousands of routes and receivers take a tenth of it.
const FILE_BYTES_MAX: usize = 4 << 20;
/// Mappings and lists in each other: a tree of routes that is 120 deep.
const DEPTH_MAX: usize = 256;
/// Twice what that takes where nothing is optimized.
const STACK_BYTES: usize = 32 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_an_end() {
        let path = std::env::temp_dir().join(format!("rumormill-yaml-{}", std::process::id()));
        std::fs::write(&path, "x".repeat(FILE_BYTES_MAX)).unwrap();
        assert_eq!(read(&path).unwrap().len(), FILE_BYTES_MAX);
        std::fs::write(&path, "x".repeat(FILE_BYTES_MAX + 1)).unwrap();
        assert!(
            read(&path)
                .unwrap_err()
                .to_string()
                .contains("4194304 bytes")
        );
        std::fs::remove_file(&path).unwrap();
    }

    /// Neither depth nor aliases take the stack or the memory.
    #[test]
    fn nesting_and_aliases_have_an_end() {
        type Any = serde_json::Value;
        let nested = |depth| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        let is_read = |text: String| deep(move || parse::<Any>(&text).is_ok());
        assert!(is_read(nested(250)) && !is_read(nested(260)));
        assert!(!is_read("[".repeat(1 << 16)) && !is_read("- ".repeat(1 << 16)));
        let mut bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
        for n in 1..9 {
            let aliases = vec![format!("*a{}", n - 1); 10].join(",");
            bomb.push_str(&format!("a{n}: &a{n} [{aliases}]\n"));
        }
        assert!(!is_read(bomb));
    }
}
