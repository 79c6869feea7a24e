//! Finds libtachyon: the file that TACHYON_LIBRARY names, else what pkg-config says.
use std::{env, path::PathBuf, process::Command};

fn main() {
    println!("cargo:rerun-if-env-changed=TACHYON_LIBRARY");
    println!("cargo:rerun-if-env-changed=PKG_CONFIG_PATH");
    if let Some(file) = env::var_os("TACHYON_LIBRARY") {
        let file = PathBuf::from(file);
        let file = file
            .canonicalize()
            .unwrap_or_else(|error| panic!("TACHYON_LIBRARY={}: {error}", file.display()));
        let folder = file.parent().expect("a file is in a folder").display();
        let name = file.file_name().expect("a file has a name").to_string_lossy();
        println!("cargo:rerun-if-changed={}", file.display());
        println!("cargo:rustc-link-search=native={folder}");
        println!("cargo:rustc-link-lib=dylib:+verbatim={name}");
        println!("cargo:libdir={folder}"); // DEP_TACHYON_LIBDIR, for crates that want an rpath
        return;
    }
    println!("cargo:rustc-link-lib=dylib=tachyon");
    let asked = Command::new("pkg-config").args(["--variable=libdir", "tachyon"]).output();
    match asked {
        Ok(answer) if answer.status.success() => {
            let folder = String::from_utf8_lossy(&answer.stdout).trim().to_owned();
            println!("cargo:rustc-link-search=native={folder}");
            println!("cargo:libdir={folder}");
        }
        _ => println!(
            "cargo:warning=pkg-config does not know tachyon; set TACHYON_LIBRARY=/path/libtachyon.so.1 \
             or PKG_CONFIG_PATH unless the linker finds -ltachyon by itself"
        ),
    }
}
