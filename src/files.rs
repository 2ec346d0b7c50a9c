//! Files that are whole or not there.

use crate::{Error, Result};
use std::io::Write;
use std::path::Path;

/// Writes `bytes` to a temporary file beside `path`, syncs it to disk and renames it into place.
///
/// Killed at any moment, or with the disk full, `path` holds either its old content or all of the new.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    let err = |e| Error::io(path, e);
    let folder = match path.parent() {
        Some(p) if !p.as_os_str().is_empty() => p,
        _ => Path::new("."),
    };
    std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))?;
    let mut file = tempfile::Builder::new().prefix(".rusa-").tempfile_in(folder).map_err(err)?;
    file.write_all(bytes).map_err(err)?;
    #[cfg(unix)]
    {
        // Temporary files are private; results should have the mode of any other file.
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::Permissions::from_mode(0o644);
        file.as_file().set_permissions(mode).map_err(err)?;
    }
    file.as_file().sync_all().map_err(err)?;
    file.persist(path).map_err(|e| err(e.error))?;
    // The rename itself is durable only once the folder is.
    #[cfg(unix)]
    std::fs::File::open(folder).and_then(|f| f.sync_all()).map_err(err)?;
    Ok(())
}
