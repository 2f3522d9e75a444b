import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isWhetstoneError, type PluginKind } from '@whetstone/core/contract';
import { parse, printParseErrorCode, type ParseError } from 'jsonc-parser';
import { builtInPlugins } from '../../packages/cli/src/built-ins.js';
import { Trainer, untypedConfig } from '../../packages/cli/src/trainer.js';
import type { CodeBlock, DocumentationProblem, Page } from './markdown.js';

type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };
interface JsonObject {
  readonly [key: string]: Json;
}

const isObject = (value: Json | undefined): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** What a fragment of a configuration leaves out. */
const minimal: JsonObject = {
  model: 'smollm2-135m',
  data: { train: 'train.jsonl', eval: 'eval.jsonl' },
  strategy: 'full',
};

/**
 * Checks the JSON blocks of a page: each is a configuration, a part of one, or a plugin as it is named in one.
 *
 * @param folder where the page's own files are; plugins and packages are looked for from there.
 */
export async function checkConfigurations(page: Page, folder: string): Promise<DocumentationProblem[]> {
  const blocks = page.blocks.filter(({ language }) => ['json', 'jsonc'].includes(language));
  return (await Promise.all(blocks.map((block) => blockProblems(block, folder)))).flat();
}

async function blockProblems(block: CodeBlock, folder: string): Promise<DocumentationProblem[]> {
  const at = (message: string, line = block.line + 1) => ({ page: block.page, line, message });
  if (block.file?.endsWith('.jsonl') === true)
    return block.text
      .split('\n')
      .flatMap((text, index) => syntaxErrors(text).map(({ message }) => at(message, block.line + 1 + index)));
  const syntax = syntaxErrors(block.text).map(({ line, message }) => at(message, block.line + 1 + line));
  if (syntax.length > 0 || block.file === 'package.json') return syntax;
  if (block.language === 'json' && /^\s*\/\//m.test(block.text))
    return [at('A JSON block holds no comments; jsonc does.')];
  const value = parse(block.text, [], { allowTrailingComma: true }) as Json;
  if (!isObject(value)) return [at('A configuration is an object.')];
  if ('use' in value) return (await pluginProblems(value, folder)).map((message) => at(message));
  if (!('model' in value && ('data' in value || 'stages' in value)))
    return (await configurationProblems(value, [], folder)).map((message) => at(message));

  // Empty lines before it, so that an error names the line of the page.
  const own = await mkdtemp(join(folder, 'configuration-'));
  try {
    const file = join(own, 'run.json');
    await writeFile(file, '\n'.repeat(block.line) + block.text);
    await new Trainer(file, { overrides: [`baseFolder=${JSON.stringify(folder)}`] }).resolve();
    return [];
  } catch (error) {
    return problemsOf(error).map(({ message, line }) => at(message, line));
  } finally {
    await rm(own, { recursive: true });
  }
}

/** What is wrong with a configuration, or a part of one, and with settings that override it. */
export async function configurationProblems(
  fragment: JsonObject,
  overrides: readonly string[] = [],
  folder: string = tmpdir(),
): Promise<readonly string[]> {
  try {
    await new Trainer(untypedConfig(merged(minimal, fragment)), { baseFolder: folder, overrides }).resolve();
    return [];
  } catch (error) {
    return problemsOf(error).map(({ message }) => message);
  }
}

/** Where a configuration names a plugin of a kind. */
const slots: Partial<Record<PluginKind, (plugin: JsonObject) => JsonObject>> = {
  strategy: (plugin) => ({ strategy: plugin }),
  callback: (plugin) => ({ callbacks: [plugin] }),
  logger: (plugin) => ({ loggers: [plugin] }),
  optimizer: (plugin) => ({ optimizer: plugin }),
  schedule: (plugin) => ({ schedule: plugin }),
  metric: (plugin) => ({ evaluation: { metrics: [plugin] } }),
  'data-source': (plugin) => ({ data: { train: plugin } }),
  'data-transform': (plugin) => ({ data: { transforms: [plugin] } }),
};

async function pluginProblems(plugin: JsonObject, folder: string): Promise<readonly string[]> {
  const name = plugin['use'];
  const kinds = builtInPlugins.filter((one) => one.name === name).map(({ kind }) => kind);
  const known = kinds.flatMap((kind) => slots[kind] ?? []);
  if (known.length === 0) return [`There is no built-in plugin '${String(name)}'.`];
  const tried = await Promise.all(known.map((slot) => configurationProblems(slot(plugin), [], folder)));
  return tried.some(({ length }) => length === 0) ? [] : tried.flat();
}

function merged(base: JsonObject, over: JsonObject): JsonObject {
  const result: Record<string, Json> = { ...base };
  for (const [key, value] of Object.entries(over)) {
    const present = result[key];
    result[key] = isObject(value) && isObject(present) && !('use' in value) ? merged(present, value) : value;
  }
  return result;
}

function problemsOf(error: unknown): { readonly message: string; readonly line?: number }[] {
  if (!isWhetstoneError(error)) throw error;
  const found = error.problems.length > 0 && error.place === undefined ? error.problems : [error, ...error.problems];
  return found.map(({ message, place, hint }) => ({
    message: [place?.path, message, hint].filter((part) => part !== undefined && part !== '').join(': '),
    ...(place?.line === undefined ? {} : { line: place.line }),
  }));
}

function syntaxErrors(text: string): { readonly line: number; readonly message: string }[] {
  const errors: ParseError[] = [];
  if (text.trim() !== '') parse(text, errors, { allowTrailingComma: true });
  return errors.map(({ error, offset }) => ({
    line: text.slice(0, offset).split('\n').length - 1,
    message: `This is not JSON: ${printParseErrorCode(error)}.`,
  }));
}
