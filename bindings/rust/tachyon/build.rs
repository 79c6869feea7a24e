//! Lets tests and examples find the library that they were linked with.
fn main() {
    if let Ok(folder) = std::env::var("DEP_TACHYON_LIBDIR") {
        println!("cargo:rustc-link-arg=-Wl,-rpath,{folder}");
    }
}
