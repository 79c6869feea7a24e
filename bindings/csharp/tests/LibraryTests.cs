// SPDX-License-Identifier: MIT
using System.Diagnostics;
using System.IO;
using NUnit.Framework;

namespace Tachyon.Tests
{
    [TestFixture]
    public class LibraryTests
    {
        static string Says(string role, string argument, string library)
        {
            using (Process child = Support.Child(role, argument, library))
            {
                string said = child.StandardOutput.ReadToEnd();
                child.WaitForExit();
                return said;
            }
        }

        [TestCase("connect", "TimeoutException")]
        [TestCase("listen", "TimeoutException")]
        [TestCase("listener", "done")]
        [TestCase("array", "MessageFormatException")]
        public void AnyCallMayBeTheFirst(string role, string outcome)
        {
            using (var folder = new Folder())
                Assert.That(Says(role, folder.Bus, null).StartsWith(outcome), Says(role, folder.Bus, null));
        }

        [Test]
        public void ALibraryThatIsNotThereIsAnErrorThatNamesIt()
        {
            string said = Says("listener", "/tmp/never", "/nowhere/libtachyon.so.1");
            Assert.That(said.StartsWith("LibraryException: cannot load /nowhere/libtachyon.so.1"), said);
            Assert.That(said.Contains("TACHYON_LIBRARY"), said);
        }

        [Test]
        public void ALibraryOfAnotherVersionIsRefused()
        {
            using (var folder = new Folder())
            {
                string source = folder.Bus + ".c", library = folder.Bus + ".so";
                File.WriteAllText(source, "unsigned tachyon_abi_version(void) { return 2 << 16 | 7; }\n");
                Process.Start("cc", $"-shared -fPIC -o {library} {source}").WaitForExit();
                string said = Says("listener", folder.Bus, library);
                Assert.That(said.StartsWith($"LibraryException: {library} has the ABI 2.7"), said);
            }
        }
    }
}
