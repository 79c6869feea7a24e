// SPDX-License-Identifier: MIT
// Csc [OPTION|SOURCE...]: Roslyn's command line. npm's package has the compiler as a library, not its program.
// It is for Mono's compiler, which stumbles over .NET 8's methods that have one variant for spans: so it uses
// none of Path's, and not Console.Error.
using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using Microsoft.CodeAnalysis;
using Microsoft.CodeAnalysis.CSharp;
using Microsoft.CodeAnalysis.Text;

static class Csc
{
    static int Main(string[] words)
    {
        CSharpCommandLineArguments told = CSharpCommandLineParser.Default.Parse(words, Directory.GetCurrentDirectory(), null);
        IEnumerable<Diagnostic> found = told.Errors;
        if (!Failed(found))
            found = Compile(told);
        foreach (Diagnostic diagnostic in found.Where(d => d.Severity >= DiagnosticSeverity.Warning && !d.IsSuppressed))
            Console.WriteLine(diagnostic);
        return Failed(found) ? 1 : 0;
    }

    static bool Failed(IEnumerable<Diagnostic> found)
    {
        return found.Any(d => d.Severity == DiagnosticSeverity.Error);
    }

    static IEnumerable<Diagnostic> Compile(CSharpCommandLineArguments told)
    {
        var trees = new List<SyntaxTree>();
        foreach (CommandLineSourceFile file in told.SourceFiles)
            using (Stream text = File.OpenRead(file.Path))
                trees.Add(CSharpSyntaxTree.ParseText(SourceText.From(text, canBeEmbedded: true), told.ParseOptions, file.Path));
        IEnumerable<MetadataReference> references = told.MetadataReferences.Select(r => MetadataReference.CreateFromFile(r.Reference));
        string result = told.OutputDirectory + "/" + told.OutputFileName;
        CSharpCompilation compilation = CSharpCompilation.Create(told.OutputFileName.Substring(0, told.OutputFileName.LastIndexOf('.')),
            trees, references, told.CompilationOptions);
        using (Stream assembly = File.Create(result), comments = told.DocumentationPath == null ? null : File.Create(told.DocumentationPath))
            return compilation.Emit(assembly, xmlDocumentationStream: comments, options: told.EmitOptions).Diagnostics;
    }
}
