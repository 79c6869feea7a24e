// SPDX-License-Identifier: MIT
// RunTests TESTS.DLL: runs NUnit's tests on .NET Core, where the runner of NUnit 2.6 does not go.
using System;
using System.Linq;
using System.Reflection;
using NUnit.Framework;

static class RunTests
{
    static int Main(string[] arguments)
    {
        int passed = 0, failed = 0;
        foreach (Type type in Assembly.LoadFrom(arguments[0]).GetTypes().Where(t => t.GetCustomAttributes(typeof(TestFixtureAttribute), false).Any()))
            foreach (MethodInfo method in type.GetMethods())
            {
                var cases = method.GetCustomAttributes(typeof(TestCaseAttribute), false).Select(c => ((TestCaseAttribute)c).Arguments).ToList();
                if (method.GetCustomAttributes(typeof(TestAttribute), false).Any())
                    cases.Add(new object[0]);
                foreach (object[] values in cases)
                {
                    string name = type.Name + "." + method.Name + "(" + string.Join(", ", values) + ")";
                    try
                    {
                        method.Invoke(Activator.CreateInstance(type), values);
                        passed++;
                    }
                    catch (TargetInvocationException e)
                    {
                        failed++;
                        Console.WriteLine(name + ": " + e.InnerException);
                    }
                }
            }
        Console.WriteLine(passed + " passed, " + failed + " failed");
        return failed > 0 || passed == 0 ? 1 : 0;
    }
}
