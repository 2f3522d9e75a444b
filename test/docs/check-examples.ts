import { readFile, writeFile } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { isWhetstoneError, type PluginKind } from '@whetstone/core/contract';
import { transform } from 'esbuild';
import { Trainer, untypedConfig } from '../../packages/cli/src/trainer.js';
import { execute, repository } from '../support/execute.js';
import { tinyConfig, tinyServices } from '../trainer/support.js';
import { fileOfBlock } from './check-types.js';
import type { CodeBlock, DocumentationProblem } from './markdown.js';

export interface ExampleSettings {
  readonly folder: string;
  readonly cwd: string;
  readonly env: NodeJS.ProcessEnv;
  readonly expectedOutput?: RegExp | undefined;
}

/**
 * Runs a program of a page. A plugin is loaded as a configuration loads it, and takes part in two training steps; a
 * test file runs with vitest; any other program runs to its end and prints what its comments say.
 *
 * @param folder where the page's files are written; its parents hold what the examples use.
 * @param cwd the folder that programs run in.
 * @param expectedOutput what a program prints besides what its comments say.
 */
export async function checkExample(
  block: CodeBlock,
  { folder, cwd, env, expectedOutput }: ExampleSettings,
): Promise<DocumentationProblem[]> {
  const problem = (message: string) => ({ page: block.page, line: block.line + 1, message });
  const file = join(folder, fileOfBlock(block));
  const kind = pluginKind(block);
  if (kind !== null) return (await trainWith(kind, file, cwd)).map(problem);
  if (isTest(block)) {
    const test = /\.test\.\w+$/.test(file) ? file : file.replace(/\.(\w+)$/, '.test.$1');
    await writeFile(test, await readFile(file));
    const { code, stdout, stderr } = await execute(
      process.execPath,
      [
        join(repository, 'node_modules/vitest/vitest.mjs'),
        'run',
        '--dir',
        folder,
        fileOfBlock(block).split('.')[0] ?? '',
      ],
      cwd,
      withoutVitest(env),
    );
    return code === 0 ? [] : [problem(`The tests fail: ${stdout}${stderr}`)];
  }
  const { code: program } = await transform(block.text, {
    loader: 'ts',
    tsconfigRaw: { compilerOptions: { experimentalDecorators: true } },
  });
  const runnable = join(folder, `${fileOfBlock(block)}.mjs`);
  await writeFile(runnable, program);
  const { code, stdout, stderr } = await execute(process.execPath, [runnable], cwd, withoutVitest(env));
  if (code !== 0) return [problem(`The program ends with exit code ${code}: ${stderr}`)];
  if (expectedOutput?.test(stdout) === false)
    return [problem(`The program does not print ${String(expectedOutput)} but: ${stdout}`)];
  return missingOutput(block, stdout);
}

/** What a program prints must be what its comments say: `console.log(…); // this`. */
function missingOutput(block: CodeBlock, stdout: string): DocumentationProblem[] {
  const printed = stdout.split('\n').map((line) => line.trim());
  const problems: DocumentationProblem[] = [];
  for (const [index, text] of block.text.split('\n').entries()) {
    const expected = /^\s*console\.log\(.*\);? \/\/ (.+)$/.exec(text)?.[1]?.trim();
    if (expected === undefined) continue;
    const at = printed.indexOf(expected);
    if (at >= 0) printed.splice(0, at + 1);
    else
      problems.push({
        page: block.page,
        line: block.line + 1 + index,
        message: `The program does not print '${expected}' but: ${stdout}`,
      });
  }
  return problems;
}

const isTest = ({ text }: CodeBlock): boolean => /from '(vitest|@whetstone\/testing)'/.test(text);

/** The kind of the plugin that a block exports by default, or null if it exports none. */
function pluginKind({ text }: CodeBlock): PluginKind | null {
  if (!/^export default /m.test(text)) return null;
  return (/definePlugin\(\{.*?kind: '([\w-]+)'/s.exec(text)?.[1] as PluginKind | undefined) ?? null;
}

/**
 * Trains two steps with a plugin, and answers what is wrong with it. A metric measures the model of the folder `world`.
 */
async function trainWith(kind: PluginKind, file: string, world: string): Promise<readonly string[]> {
  const plugin = { use: file, options: requiredOptions(await readFile(file, 'utf8')) };
  const slot = {
    callback: { callbacks: [plugin] },
    logger: { loggers: [plugin] },
    strategy: { strategy: plugin },
    optimizer: { optimizer: { use: file, learningRate: 0.01, ...plugin.options } },
    schedule: { schedule: { use: file, ...plugin.options } },
    metric: {
      model: join(world, 'my-model'),
      backend: 'cpu',
      data: { train: join(world, 'train.jsonl'), eval: join(world, 'eval.jsonl') },
      evaluation: { metrics: [plugin] },
      strategy: 'lora',
    },
  }[kind as string];
  if (slot === undefined) return [`A plugin of kind ${kind} is not tried yet: say in check-examples.ts how.`];
  const trainer = new Trainer(
    untypedConfig({
      ...tinyConfig,
      ...slot,
      training: { maxSteps: 2, saveStrategy: 'no', evalStrategy: 'ends' },
    }),
    kind === 'metric' ? {} : { services: tinyServices() },
  );
  const warnings: string[] = [];
  trainer.on('warning', ({ message }) => warnings.push(message));
  try {
    await trainer.run();
    return warnings;
  } catch (error) {
    return [isWhetstoneError(error) ? error.toString() : (error as Error).message];
  }
}

/** A value for each number that a plugin's schema requires. */
function requiredOptions(text: string): Readonly<Record<string, number>> {
  const names = /required: \[([^\]]*)\]/.exec(text)?.[1]?.matchAll(/'(\w+)'/g) ?? [];
  return Object.fromEntries([...names].map(([, name = '']) => [name, 1]));
}

/** A test of the page is a run of its own, not a part of this one. */
function withoutVitest(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return {
    ...Object.fromEntries(Object.entries(env).filter(([name]) => !name.startsWith('VITEST'))),
    PATH: `${join(repository, 'node_modules/.bin')}${delimiter}${env['PATH'] ?? ''}`,
    NODE_ENV: '',
  };
}
