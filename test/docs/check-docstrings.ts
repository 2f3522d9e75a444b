import { dirname } from 'node:path';
import { errorCodes } from '@whetstone/core/contract';
import { mentionProblems } from './check-commands.js';
import type { DocumentationProblem } from './markdown.js';
import { commentPattern, createPathLookup, type SourceFile } from './repository-files.js';

/**
 * Checks the comments of a source file: names of `@param` are parameters of what follows, `{@link}` leads to something
 * in the file, codes after `@throws` are in the table, files exist, and so do the commands that comments and messages
 * name.
 */
export function checkDocstrings({ path, text }: SourceFile, files: readonly string[]): DocumentationProblem[] {
  const problems: DocumentationProblem[] = [];
  const report = (at: number, message: string) =>
    problems.push({ page: path, line: text.slice(0, at).split('\n').length, message });

  for (const { 0: docstring, index } of text.matchAll(/\/\*\*[^]*?\*\//g)) {
    const parameters = parameterList(text.slice(index + docstring.length));
    for (const { 1: name = '', index: at } of docstring.matchAll(/@param\s+([\w.]+)/g))
      if (!new RegExp(`\\b${name.split('.')[0]}\\b`).test(parameters))
        report(index + at, `@param ${name} does not name a parameter of the declaration below.`);
    for (const { 1: target = '', index: at } of docstring.matchAll(/\{@link\s+(\w+)/g))
      if (!new RegExp(`\\b${target}\\b`).test(text.replaceAll(/\/\*[^]*?\*\//g, '')))
        report(index + at, `{@link ${target}} leads to nothing in this file.`);
    for (const { 1: codes = '', index: at } of docstring.matchAll(
      /@throws((?:[\s*,`]|WhetstoneError|or|and|[A-Z_]{4,})+)/g,
    ))
      for (const code of codes.match(/\b[A-Z]+(?:_[A-Z]+)+\b/g) ?? [])
        if (!(code in errorCodes)) report(index + at, `There is no error code ${code}.`);
  }

  const pathExists = createPathLookup(files);
  for (const { 0: comment, index } of text.matchAll(commentPattern))
    for (const { 0: file, index: at } of comment.matchAll(/(?<![\w.<@/-])(?:[\w.@-]+\/)*[\w-]+\.(?:ts|mjs|md|py)\b/g))
      // `./my-callback.ts` is a file of a user.
      if (!file.startsWith('./') && !pathExists(file, dirname(path))) report(index + at, `There is no file ${file}.`);

  for (const { 1: command = '', index } of text.matchAll(/`(?:npx )?whetstone ([a-z][^`\n$…\\]*?)(?: …)?`/g))
    for (const message of mentionProblems(command.split(' '))) report(index, `whetstone ${command}: ${message}`);
  return problems;
}

/** The text of the first parameter list after a docstring. */
function parameterList(text: string): string {
  const start = text.indexOf('(');
  let depth = 0;
  for (let at = start; at >= 0 && at < text.length; at++) {
    if (text[at] === '(') depth++;
    if (text[at] === ')' && --depth === 0) return text.slice(start, at);
  }
  return '';
}
