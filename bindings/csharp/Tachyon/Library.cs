// SPDX-License-Identifier: MIT
using System;
using System.IO;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Text;

namespace Tachyon
{
    /// <summary>
    /// Finds and loads libtachyon: what TACHYON_LIBRARY names and nothing else, or else what the
    /// system's loader knows as libtachyon.so.1.
    /// </summary>
    /// <remarks>
    /// Mono looks for a DllImport when it compiles the method that calls it, and remembers a failure
    /// for ever. So what a program calls first calls Load(), and leaves the rest to a method of
    /// its own, which is compiled after it.
    /// </remarks>
    internal static class Library
    {
        /// <summary>What DllImport says. Mono's __Internal is all that the process has loaded.</summary>
#if NET8_0_OR_GREATER
        internal const string Name = "tachyon";
#else
        internal const string Name = "__Internal";
#endif
        const string Variable = "TACHYON_LIBRARY";
        const string SystemName = "libtachyon.so.1";
        const uint Major = 1, Minor = 0;

        static readonly object loading = new object();
        static volatile bool loaded;

        internal static void Load()
        {
            if (loaded)
                return;
            lock (loading)
            {
                if (loaded)
                    return;
                string chosen = Environment.GetEnvironmentVariable(Variable);
                string path = string.IsNullOrEmpty(chosen) ? SystemName : Path.GetFullPath(chosen);
                Open(path, path == SystemName
                    ? "install libtachyon, or say where it is in " + Variable
                    : Variable + " says so: mend or unset it");
                CheckVersion(path);
                loaded = true;
            }
        }

        [MethodImpl(MethodImplOptions.NoInlining)]
        static void CheckVersion(string path)
        {
            uint version;
            try
            {
                version = Native.tachyon_abi_version();
            }
            catch (EntryPointNotFoundException)
            {
                throw new LibraryException(path + " is not libtachyon: it has no tachyon_abi_version()");
            }
            if (version >> 16 != Major || (version & 0xffff) < Minor)
                throw new LibraryException($"{path} has the ABI {version >> 16}.{version & 0xffff}; this package needs " +
                    $"{Major}.{Minor} or a later {Major}.x: install the library and the package of one version");
        }

#if NET8_0_OR_GREATER
        static IntPtr handle;

        static void Open(string path, string advice)
        {
            bool first = handle == IntPtr.Zero;
            try
            {
                handle = NativeLibrary.Load(path);
            }
            catch (Exception e) when (e is DllNotFoundException || e is BadImageFormatException)
            {
                throw new LibraryException($"cannot load {path} ({advice}): {e.Message}");
            }
            if (first)
                NativeLibrary.SetDllImportResolver(typeof(Library).Assembly,
                    (name, assembly, search) => name == Name ? handle : IntPtr.Zero);
        }
#else
        const int Now = 2, Global = 0x100; // Linux's

        [DllImport("__Internal")]
        static extern IntPtr dlopen(byte[] path, int flags);

        [DllImport("__Internal")]
        static extern IntPtr dlerror();

        static void Open(string path, string advice)
        {
            if (dlopen(Native.Text(path), Now | Global) == IntPtr.Zero)
                throw new LibraryException($"cannot load {path} ({advice}): {Marshal.PtrToStringAnsi(dlerror())}");
        }
#endif
    }
}
