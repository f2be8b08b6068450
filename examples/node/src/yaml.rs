//! YAML files: how large they may be. How deep they nest, and what aliases add, is limited by the
//! parser: 64 levels, and by default what no file of these needs.

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

/// What a text says.
pub(crate) fn parse<T: DeserializeOwned>(text: &str) -> Result<T, serde_saphyr::Error> {
    serde_saphyr::from_str(text)
}

/// The largest file: thousands of routes and receivers take a tenth of it.
const FILE_BYTES_MAX: usize = 4 << 20;

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
        assert!(parse::<Any>(&format!("{}{}", "[".repeat(60), "]".repeat(60))).is_ok());
        assert!(parse::<Any>(&"[".repeat(1 << 16)).is_err());
        assert!(parse::<Any>(&"- ".repeat(1 << 16)).is_err());
        let mut bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
        for n in 1..9 {
            let aliases = vec![format!("*a{}", n - 1); 10].join(",");
            bomb.push_str(&format!("a{n}: &a{n} [{aliases}]\n"));
        }
        assert!(parse::<Any>(&bomb).is_err());
    }
}
