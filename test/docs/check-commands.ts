import { execFile } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { xlaPluginKinds } from '@whetstone/backend/install';
import type { Command } from 'commander';
import { KINDS, LANGUAGES } from 'create-whetstone-plugin';
import { createProgram } from '../../packages/cli/src/command-line.js';
import { repository } from '../support/execute.js';
import { configurationProblems } from './check-configurations.js';
import { inlineCode, type DocumentationProblem, type Page } from './markdown.js';
import { shellCommands } from './shell.js';

/** Programs whose parameters are not checked. */
const otherPrograms = new Set([
  '[',
  'bash',
  'cd',
  'echo',
  'export',
  'for',
  'done',
  'git',
  'sbatch',
  'scontrol',
  'wait',
]);
const npmCommands = new Set(['ci', 'create', 'i', 'install', 'pack', 'publish', 'run', 'test']);

const manifest = JSON.parse(readFileSync(join(repository, 'package.json'), 'utf8')) as {
  readonly scripts: Readonly<Record<string, string>>;
};

/** Checks every command in the shell blocks of a page, and those in its inline code. */
export async function checkCommands(page: Page): Promise<DocumentationProblem[]> {
  const problems: DocumentationProblem[] = [];
  const check = async (line: number, words: readonly string[], isMention: boolean) => {
    for (const message of await commandProblems(words, page, isMention))
      problems.push({ page: page.path, line, message: `${words.join(' ')}: ${message}` });
  };
  for (const block of page.blocks.filter(({ language }) => ['sh', 'bash', 'shell', 'console'].includes(language)))
    for (const { line, words } of shellCommands(block.text)) await check(block.line + 1 + line, words, false);
  for (const block of page.blocks.filter(({ language }) => language === 'yaml'))
    for (const [index, text] of block.text.split('\n').entries()) {
      const command = /^\s*command: \[(.+)\]$/.exec(text)?.[1];
      if (command !== undefined) await check(block.line + 1 + index, command.split(/,\s*/), false);
    }
  for (const { line, code } of inlineCode(page).filter(({ code: text }) => /^(npx |whetstone |npm )/.test(text)))
    for (const { words } of alternatives(code)) await check(line, words, true);
  return problems;
}

/** The commands of inline code; of `whetstone data report | inspect`, one for each alternative. */
function alternatives(code: string): readonly { readonly words: readonly string[] }[] {
  const [first, ...others] = shellCommands(code);
  if (first === undefined) return [];
  return [first, ...others.map(({ words }) => ({ words: [...first.words.slice(0, -1), ...words] }))];
}

/** @param isMention inline code: a mention of a command, whose arguments may be left out. */
async function commandProblems(words: readonly string[], page: Page, isMention: boolean): Promise<readonly string[]> {
  const [program = '', ...parameters] = words;
  switch (program) {
    case 'npx':
    case 'srun':
      return commandProblems(parameters, page, isMention);
    case '@whetstone/backend':
      return backendProblems(parameters, isMention);
    case 'whetstone':
    case 'node_modules/.bin/whetstone':
      return whetstoneProblems(parameters, isMention);
    case 'npm':
      return npmProblems(parameters);
    case 'node':
      return nodeProblems(parameters, page);
    case 'vitest':
      return vitestProblems(parameters, page);
    default:
      return otherPrograms.has(program) ? [] : [`The program ${program} is not known to the documentation's check.`];
  }
}

async function whetstoneProblems(parameters: readonly string[], isMention: boolean): Promise<readonly string[]> {
  if (isMention) return mentionProblems(parameters);
  try {
    silent(createProgram()).parse(parameters, { from: 'user' });
  } catch (error) {
    return [(error as Error).message.replace(/^error: /, '')];
  }
  const overrides = parameters.flatMap((word, index) => (word === '--set' ? [parameters[index + 1] ?? ''] : []));
  return overrides.length === 0 ? [] : configurationProblems({}, overrides);
}

/** What is wrong with a command line of `npx @whetstone/backend`. */
function backendProblems([command = '', ...parameters]: readonly string[], isMention: boolean): readonly string[] {
  if (isMention && command === '') return [];
  const known: Readonly<Record<string, readonly string[]>> = {
    info: ['--json'],
    install: ['cpu', ...xlaPluginKinds, '--dry-run', '--json'],
  };
  return [command, ...parameters]
    .filter((word, index) => !(index === 0 ? Object.keys(known) : (known[command] ?? [])).includes(word))
    .map((word) => `unknown argument '${word}' of @whetstone/backend`);
}

/** A program that checks a command line as the real one does, and then does nothing. */
function silent(command: Command): Command {
  command.exitOverride().configureOutput({ writeErr: () => undefined, writeOut: () => undefined });
  if (command.commands.length === 0) command.action(() => undefined);
  for (const one of command.commands) silent(one);
  return command;
}

/** What is wrong with a command that a text names, whose arguments may be left out. */
export function mentionProblems(parameters: readonly string[]): readonly string[] {
  let command: Command = createProgram();
  for (const word of parameters) {
    if (command.commands.length === 0 || word.startsWith('-')) break;
    const next = command.commands.find((one) => one.name() === word);
    if (next === undefined) return [`unknown command '${word}'`];
    command = next;
  }
  const known = new Set(command.options.flatMap(({ long, short }) => [long, short]));
  return parameters
    .filter((word) => /^--\w/.test(word) && !known.has(word))
    .map((word) => `unknown option '${word}' of '${command.name()}'`);
}

async function npmProblems([command = '', script = '', ...rest]: readonly string[]): Promise<readonly string[]> {
  if (!npmCommands.has(command)) return [`npm ${command} is not known to the documentation's check.`];
  if (command === 'create') return createProblems(script, rest);
  if (command !== 'run') return [];
  if (manifest.scripts[script] === undefined) return [`There is no npm script '${script}'.`];
  return script === 'bench' && rest.length > 0 ? benchProblems(rest.filter((word) => word !== '--')) : [];
}

/** What is wrong with a command line of `npm create whetstone-plugin`. */
function createProblems(
  name: string,
  [packageName = 'NAME', separator = '--', ...options]: readonly string[],
): string[] {
  if (name !== 'whetstone-plugin') return [`create-${name} is not a package of this repository.`];
  if (packageName.startsWith('-') || separator !== '--') return ['The options are not behind the name and `--`.'];
  const values: Readonly<Record<string, readonly string[]>> = { '--kind': KINDS, '--language': LANGUAGES, '--yes': [] };
  return options.flatMap((word, index) => {
    if (word.startsWith('-')) return values[word] === undefined ? [`unknown option '${word}' of create-${name}`] : [];
    const option = options[index - 1] ?? '';
    return values[option]?.includes(word) === true ? [] : [`'${word}' is not a value of ${option} of create-${name}`];
  });
}

/** The options of a benchmark are those that its help lists: its program parses its parameters when it is imported. */
async function benchProblems([name = '', ...parameters]: readonly string[]): Promise<readonly string[]> {
  const bench = join(repository, 'bench/dist/main.js');
  let help: string;
  try {
    help = (await promisify(execFile)(process.execPath, [bench, name, '--help'])).stdout;
  } catch (error) {
    return [`There is no benchmark '${name}': ${(error as { readonly stderr?: string }).stderr ?? ''}`];
  }
  const known = new Set([...help.matchAll(/--[\w-]+/g)].map(([option]) => option));
  if (!help.startsWith(`Usage: bench ${name}`)) return [`There is no benchmark '${name}'.`];
  return parameters
    .filter((word) => word.startsWith('--') && !known.has(word))
    .map((word) => `unknown option '${word}' of the benchmark '${name}'`);
}

function nodeProblems([file = '', ...parameters]: readonly string[], page: Page): readonly string[] {
  const text = fileText(file, page);
  if (text === null) return [`There is no file ${file}.`];
  return parameters
    .map((word) => word.split('=')[0] ?? '')
    .filter((word) => word.startsWith('--') && !text.includes(word.slice(2)))
    .map((word) => `${file} does not read the option '${word}'.`);
}

/** A file of the page itself, or of the repository. */
function fileText(file: string, page: Page): string | null {
  const block = page.blocks.find((one) => one.file === file);
  if (block !== undefined) return block.text;
  const found = [repository, join(repository, dirname(page.path))].map((folder) => join(folder, file));
  const path = found.find((one) => existsSync(one));
  return path === undefined ? null : readFileSync(path, 'utf8');
}

function vitestProblems([command = '', ...parameters]: readonly string[], page: Page): readonly string[] {
  if (command !== 'run') return ['Only `vitest run` ends by itself.'];
  return parameters
    .filter((word) => !word.startsWith('-'))
    .filter((word) => !page.blocks.some(({ file }) => file?.includes(word)) && !existsSync(join(repository, word)))
    .map((word) => `There is no test file ${word}.`);
}
