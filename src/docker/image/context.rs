//! A build context: a folder with a Dockerfile, as it is sent to an engine.

use std::{
    fs,
    io::{self, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use data_encoding::HEXLOWER;
use globset::{Glob, GlobBuilder, GlobMatcher};
use sha2::{Digest, Sha256};
use tar::{EntryType, Header};

/// The files of a build, without those that `.dockerignore` excludes.
#[derive(Clone, Debug)]
pub struct Context {
    folder: PathBuf,
    files: Vec<PathBuf>,
    digest: String,
}

impl Context {
    /// Reads a folder. It must have a `Dockerfile`.
    pub fn read(folder: &Path) -> io::Result<Self> {
        let name = |error: io::Error, path: &Path| {
            io::Error::new(error.kind(), format!("`{}`: {error}", path.display()))
        };
        let dockerfile = folder.join("Dockerfile");
        if !dockerfile.is_file() {
            return Err(io::Error::new(
                io::ErrorKind::NotFound,
                format!("`{}` not found", dockerfile.display()),
            ));
        }
        let ignore = Ignore::read(&folder.join(".dockerignore"))?;
        let mut files = Vec::new();
        walk(folder, Path::new(""), &ignore, &mut files).map_err(|e| name(e, folder))?;
        files.sort();
        let mut hash = Sha256::new();
        for path in &files {
            let full = folder.join(path);
            hash_file(&mut hash, path, &full).map_err(|e| name(e, &full))?;
        }
        Ok(Context {
            folder: folder.to_owned(),
            files,
            digest: HEXLOWER.encode(&hash.finalize()),
        })
    }

    /// The name of the image: the folder's name, and as a tag the first digits of a digest of all
    /// paths, contents and modes. The same files give the same name on every machine.
    pub fn image_name(&self) -> String {
        let folder = fs::canonicalize(&self.folder).unwrap_or_else(|_| self.folder.clone());
        let name: String = folder
            .file_name()
            .map(|name| name.to_string_lossy().to_lowercase())
            .unwrap_or_default()
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
            .collect();
        let name = match name.trim_matches('-') {
            "" => "image",
            name => name,
        };
        format!("hitc/{name}:{}", &self.digest[..12])
    }

    /// Writes the files as a tar archive. Owners and times are omitted, as in the digest.
    pub fn write_tar(&self, into: impl Write) -> io::Result<()> {
        let mut archive = tar::Builder::new(into);
        for path in &self.files {
            let full = self.folder.join(path);
            let mut header = Header::new_gnu();
            header.set_mode(mode(&fs::symlink_metadata(&full)?));
            if let Ok(target) = fs::read_link(&full) {
                header.set_entry_type(EntryType::Symlink);
                header.set_size(0);
                archive.append_link(&mut header, path, target)?;
            } else {
                let file = fs::File::open(&full)?;
                header.set_entry_type(EntryType::Regular);
                header.set_size(file.metadata()?.len());
                archive.append_data(&mut header, path, file)?;
            }
        }
        archive.into_inner()?.flush()
    }
}

fn walk(folder: &Path, below: &Path, ignore: &Ignore, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder.join(below))? {
        let entry = entry?;
        let path = below.join(entry.file_name());
        let kind = entry.file_type()?;
        if kind.is_dir() {
            walk(folder, &path, ignore, files)?;
        } else if (kind.is_file() || kind.is_symlink()) && !ignore.excludes(&path) {
            files.push(path);
        }
    }
    Ok(())
}

fn hash_file(hash: &mut Sha256, path: &Path, full: &Path) -> io::Result<()> {
    let metadata = fs::symlink_metadata(full)?;
    let link = fs::read_link(full).ok();
    let content = match &link {
        Some(target) => target.to_string_lossy().into_owned().into_bytes(),
        None => fs::read(full)?,
    };
    // Lengths keep one field from running into the next.
    let path = path.to_string_lossy();
    hash.update(format!(
        "{}:{path}:{}:{:o}:{}:",
        path.len(),
        link.is_some(),
        mode(&metadata),
        content.len()
    ));
    hash.update(content);
    Ok(())
}

/// The mode, reduced to whether the file is executable: the other bits depend on the user's umask.
fn mode(metadata: &fs::Metadata) -> u32 {
    match metadata.permissions().mode() & 0o111 {
        0 => 0o644,
        _ => 0o755,
    }
}

/// The rules of a `.dockerignore` file: the last matching pattern decides, `!` includes a file
/// again, and a pattern that matches a folder matches everything below it.
#[derive(Debug, Default)]
struct Ignore(Vec<(GlobMatcher, bool)>);

impl Ignore {
    fn read(path: &Path) -> io::Result<Self> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Ignore::default()),
            Err(error) => return Err(error),
        };
        let mut rules = Vec::new();
        for line in text.lines().map(str::trim) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (pattern, excluded) = match line.strip_prefix('!') {
                Some(pattern) => (pattern.trim(), false),
                None => (line, true),
            };
            let pattern = pattern.trim_matches('/').trim_start_matches("./");
            for pattern in [pattern.to_owned(), format!("{pattern}/**")] {
                let glob: Glob = GlobBuilder::new(&pattern)
                    .literal_separator(true)
                    .build()
                    .map_err(|error| {
                        io::Error::new(
                            io::ErrorKind::InvalidData,
                            format!("`{}`: {error}", path.display()),
                        )
                    })?;
                rules.push((glob.compile_matcher(), excluded));
            }
        }
        Ok(Ignore(rules))
    }

    /// Whether a file is excluded. The Dockerfile never is.
    fn excludes(&self, path: &Path) -> bool {
        path != Path::new("Dockerfile")
            && self
                .0
                .iter()
                .rfind(|(glob, _)| glob.is_match(path))
                .is_some_and(|(_, excluded)| *excluded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (path, content) in files {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        folder
    }

    #[test]
    fn content_decides_the_name() {
        let name = |files: &[(&str, &str)]| {
            let folder = folder(files);
            let name = Context::read(folder.path()).unwrap().image_name();
            name.split_once(':').unwrap().1.to_owned()
        };
        let base = name(&[("Dockerfile", "FROM scratch"), ("a/b", "1")]);
        assert_eq!(base, name(&[("a/b", "1"), ("Dockerfile", "FROM scratch")]));
        assert_ne!(base, name(&[("Dockerfile", "FROM scratch"), ("a/b", "2")]));
        assert_ne!(base, name(&[("Dockerfile", "FROM scratch"), ("a/c", "1")]));
    }

    #[test]
    fn dockerignore() {
        let folder = folder(&[
            ("Dockerfile", "FROM scratch"),
            (
                ".dockerignore",
                "# no\n*.log\nnode_modules/\n!keep.log\nDockerfile\n",
            ),
            ("a.log", ""),
            ("keep.log", ""),
            ("sub/b.log", ""),
            ("node_modules/x/y", ""),
        ]);
        let context = Context::read(folder.path()).unwrap();
        let files: Vec<_> = context.files.iter().map(|f| f.to_str().unwrap()).collect();
        assert_eq!(
            files,
            [".dockerignore", "Dockerfile", "keep.log", "sub/b.log"]
        );
    }

    #[test]
    fn the_archive_has_the_files() {
        let folder = folder(&[("Dockerfile", "FROM scratch"), ("a/b", "hello")]);
        std::os::unix::fs::symlink("b", folder.path().join("a/link")).unwrap();
        let mut bytes = Vec::new();
        let context = Context::read(folder.path()).unwrap();
        context.write_tar(&mut bytes).unwrap();
        let mut archive = tar::Archive::new(bytes.as_slice());
        let paths: Vec<_> = archive
            .entries()
            .unwrap()
            .map(|entry| entry.unwrap().path().unwrap().display().to_string())
            .collect();
        assert_eq!(paths, ["Dockerfile", "a/b", "a/link"]);
    }

    #[test]
    fn no_dockerfile() {
        let folder = folder(&[("x", "")]);
        let error = Context::read(folder.path()).unwrap_err().to_string();
        assert!(error.contains("Dockerfile"), "{error}");
    }
}
