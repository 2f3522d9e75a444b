import { dirname, join, normalize } from 'node:path';
import { inlineCode, type DocumentationProblem, type Page } from './markdown.js';
import { createPathLookup, withoutComments, type SourceFile } from './repository-files.js';

/** What pages may name. */
export interface KnownNames {
  readonly files: readonly string[];
  /** Pages by path, for the headings that links point to. */
  readonly pages: ReadonlyMap<string, Page>;
  /** Every identifier in the code of the repository. */
  readonly identifiers: ReadonlySet<string>;
  /** Every `--option` in the code of the repository. */
  readonly options: ReadonlySet<string>;
}

export function knownNames(
  files: readonly string[],
  sources: readonly SourceFile[],
  pages: readonly Page[],
): KnownNames {
  const all = (pattern: RegExp, from: readonly SourceFile[]) =>
    new Set(from.flatMap(({ text }) => withoutComments(text).match(pattern) ?? []));
  // Tests name what must be refused.
  const code = sources.filter(({ path }) => !/\.test\.\w+$/.test(path));
  return {
    files,
    pages: new Map(pages.map((page) => [page.path, page])),
    identifiers: all(/[A-Za-z_]\w*/g, code),
    options: all(/--[a-z][\w-]*/g, sources),
  };
}

/** Checks that everything exists that the text of a page names: links, files, identifiers and options. */
export function checkReferences(page: Page, known: KnownNames): DocumentationProblem[] {
  const problems: DocumentationProblem[] = [];
  const report = (line: number, message: string) => problems.push({ page: page.path, line, message });
  for (const [index, text] of page.prose.entries())
    for (const [, target = ''] of text.matchAll(/\]\(([^)\s]+)\)/g)) {
      const problem = linkProblem(target, page, known);
      if (problem !== null) report(index + 1, problem);
    }

  const pathExists = createPathLookup(known.files);
  const own = new Set(page.blocks.flatMap(({ text }) => text.match(/\w+/g) ?? []));
  for (const { line, code } of inlineCode(page)) {
    for (const [path] of code.matchAll(/(?<![\w.<@/-])(?:[\w.@-]+\/)*[\w.-]+\.(?:ts|mjs|js|md|py)\b/g))
      // `./mine.ts` is a file of a user, and what is built is not there before.
      if (!/^(?:\.\/|dist\/)/.test(path) && !own.has(path.split('.')[0] ?? '') && !pathExists(path, dirname(page.path)))
        report(line, `There is no file ${path}.`);
    const [folder] = /^(?:packages|test|docs|examples|bench|scripts)\/[\w/-]*$/.exec(code) ?? [];
    if (folder !== undefined && !known.files.some((file) => file.startsWith(`${folder.replace(/\/$/, '')}/`)))
      report(line, `There is no folder ${folder}.`);
    // A decision records what was tried: its names may be of what is gone, or of others.
    if (page.path.includes('docs/decisions/') || isForeign(code)) continue;
    for (const [name] of code.matchAll(/(?<![\w$-])[A-Za-z_]\w*/g))
      if (looksLikeCode(name) && !known.identifiers.has(name) && !own.has(name))
        report(line, `Nothing in the code is called ${name}.`);
    for (const [option] of code.matchAll(/(?<![\w-])--[a-z][\w-]*/g))
      if (!known.options.has(option) && !known.identifiers.has(camelCase(option)))
        report(line, `There is no option ${option}.`);
  }
  return problems;
}

const looksLikeCode = (name: string): boolean => /[a-z][A-Z]/.test(name) || /^[A-Z][A-Z0-9]*_[A-Z0-9_]+$/.test(name);

/** The name under which `parseArgs` or commander answers an option. */
const camelCase = (option: string): string =>
  option.slice(2).replaceAll(/-(\w)/g, (_, letter: string) => letter.toUpperCase());

/** Functions of tfjs, and placeholders of redacted text such as `[NAME_1]`. */
const isForeign = (code: string): boolean => /^tf\.\w+/.test(code) || /^\[[A-Z]+_\d+\]$/.test(code);

function linkProblem(target: string, page: Page, known: KnownNames): string | null {
  if (/^(?:https?|mailto):/.test(target)) return null;
  const [path = '', anchor] = target.split('#');
  const file =
    path === ''
      ? page.path
      : normalize(join(dirname(page.path), path))
          .replaceAll('\\', '/')
          .replace(/\/$/, '');
  if (!known.files.some((one) => one === file || one.startsWith(`${file}/`)))
    return `The link ${target} leads nowhere.`;
  if (anchor === undefined) return null;
  const linked = file === page.path ? page : known.pages.get(file);
  return linked === undefined || !anchorsOf(linked).has(anchor) ? `There is no heading for the link ${target}.` : null;
}

/** The anchors that GitHub gives to the headings of a page. */
function anchorsOf(page: Page): ReadonlySet<string> {
  return new Set(
    page.prose.flatMap((text) => {
      const heading = /^#+ (.+)$/.exec(text)?.[1];
      return heading === undefined
        ? []
        : [
            heading
              .toLowerCase()
              .replaceAll(/[^\p{L}\p{N}\s_-]/gu, '')
              .trim()
              .replaceAll(' ', '-'),
          ];
    }),
  );
}
