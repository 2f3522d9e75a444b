import { relative } from 'node:path';
import { createInterface } from 'node:readline/promises';
import { parseArgs } from 'node:util';
import { CreateError } from './create-error.js';
import { checkChoice, checkName, createPlugin, type CreatedPlugin } from './create-plugin.js';
import { KINDS, type Kind } from './kinds.js';
import { LANGUAGES, type Language } from './language.js';
import { pluginNameOf } from './names.js';
import type { PluginChoices } from './package-files.js';
import { version } from './versions.js';

const DEFAULTS = { kind: 'callback', language: 'ts' } as const satisfies Partial<PluginChoices>;

const help = `Usage: npm create whetstone-plugin NAME -- [options]

Makes a folder with a plugin of Whetstone, its tests and its package.json. NAME is the name of the package, such as
whetstone-plugin-mine. On a terminal, what is not given is asked.

  --kind KIND      ${KINDS.join(', ')} (default: ${DEFAULTS.kind})
  --language LANG  ts or js (default: ${DEFAULTS.language})
  -y, --yes        ask nothing, and use the defaults
  -v, --version    print the version
  -h, --help       print this text
`;

/** Where the command runs. */
export interface Surroundings {
  /** The folder in which the new one is made. */
  readonly folder: string;
  readonly input: NodeJS.ReadableStream;
  readonly output: NodeJS.WritableStream;
  readonly errors: NodeJS.WritableStream;
  /** Whether a person can be asked. */
  readonly isInteractive: boolean;
}

/** Thrown if the input ends before all questions are answered. */
class Cancelled extends Error {}

/** Runs `create-whetstone-plugin`. Returns the exit code: 2 for a wrong command line, 130 if cancelled, 1 otherwise. */
export async function runCommandLine(parameters: readonly string[], surroundings: Surroundings): Promise<number> {
  const { folder, output, errors } = surroundings;
  try {
    const { name, values } = readParameters(parameters);
    if (values.help === true || values.version === true) {
      output.write(values.help === true ? help : `${version}\n`);
      return 0;
    }
    const choices = await choose({ ...values, name }, surroundings);
    output.write(summaryOf(createPlugin(choices, folder), choices, folder));
    return 0;
  } catch (error) {
    if (error instanceof Cancelled) {
      errors.write('\nNothing was created.\n');
      return 130;
    }
    const isExpected = error instanceof CreateError;
    errors.write(`${isExpected ? error.toString() : `[INTERNAL] ${String((error as Error).stack ?? error)}`}\n`);
    return isExpected ? error.exitCode : 1;
  }
}

/** Reads a command line. @throws `USAGE` */
function readParameters(parameters: readonly string[]) {
  const options = {
    kind: { type: 'string' },
    language: { type: 'string' },
    yes: { type: 'boolean', short: 'y' },
    version: { type: 'boolean', short: 'v' },
    help: { type: 'boolean', short: 'h' },
  } as const;
  try {
    const { values, positionals } = parseArgs({ args: [...parameters], options, allowPositionals: true });
    const [name, ...others] = positionals;
    if (others.length > 0)
      throw new CreateError('USAGE', 'There is more than one name.', {
        expected: 'the name of one package',
        found: positionals.join(' '),
        hint: 'With npm, options are behind `--`: npm create whetstone-plugin NAME -- --kind metric',
      });
    return { name, values };
  } catch (cause) {
    if (cause instanceof CreateError) throw cause;
    throw new CreateError('USAGE', (cause as Error).message, { hint: '--help lists the options.', cause });
  }
}

interface GivenChoices {
  readonly name?: string;
  readonly kind?: string;
  readonly language?: string;
  readonly yes?: boolean;
}

/** Returns what was given, then what a person answers, then the defaults. @throws `USAGE` */
async function choose(given: GivenChoices, surroundings: Surroundings): Promise<PluginChoices> {
  const { folder, isInteractive } = surroundings;
  // What was given is checked before anything is asked.
  if (given.name !== undefined) checkName(given.name, folder);
  if (given.kind !== undefined) checkChoice('kind', given.kind, KINDS);
  if (given.language !== undefined) checkChoice('language', given.language, LANGUAGES);
  const { ask, close } =
    isInteractive && given.yes !== true
      ? openQuestions(surroundings)
      : { ask: () => Promise.resolve(null), close: () => undefined };
  try {
    const kind = (given.kind ?? (await ask('Kind', DEFAULTS.kind, isChoice('kind', KINDS))) ?? DEFAULTS.kind) as Kind;
    const checkAll = (text: string): void => {
      checkName(text, folder);
      pluginNameOf(text, kind);
    };
    const name = given.name ?? (await ask('Name of the package', 'whetstone-plugin-mine', checkAll));
    if (name === null)
      throw new CreateError('USAGE', 'The name of the package is missing.', {
        expected: 'npm create whetstone-plugin NAME',
        hint: '--help lists the options.',
      });
    checkAll(name);
    const asked = given.language ?? (await ask('Language', DEFAULTS.language, isChoice('language', LANGUAGES)));
    return { name, kind, language: (asked ?? DEFAULTS.language) as Language };
  } finally {
    close();
  }
}

const isChoice =
  (what: string, choices: readonly string[]) =>
  (text: string): void =>
    checkChoice(what, text, choices);

interface Questions {
  /** Asks until `check` accepts the answer; an empty answer is the default. @throws `Cancelled` */
  ask(question: string, byDefault: string, check: (text: string) => void): Promise<string | null>;
  close(): void;
}

function openQuestions({ input, output, errors }: Surroundings): Questions {
  const lines = createInterface({ input, output });
  const end = new AbortController();
  lines.once('close', () => end.abort());
  return {
    ask: async (question, byDefault, check) => {
      for (;;) {
        const answered = await lines.question(`${question} (${byDefault}): `, { signal: end.signal }).catch(() => null);
        if (answered === null) throw new Cancelled();
        const answer = answered.trim() === '' ? byDefault : answered.trim();
        try {
          check(answer);
          return answer;
        } catch (error) {
          if (!(error instanceof CreateError)) throw error;
          errors.write(`${error.toString()}\n`);
        }
      }
    },
    close: () => lines.close(),
  };
}

/** Returns what was made, and what to do next. */
function summaryOf({ folder, files }: CreatedPlugin, { name, kind }: PluginChoices, parent: string): string {
  return `Made ${name}, a ${kind}, in ${folder}:
${files.map((file) => `  ${file}\n`).join('')}
Next:
  cd ${relative(parent, folder)}
  npm install
  npm test
`;
}
