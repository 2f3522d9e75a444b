import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { formatError, isWhetstoneError, WhetstoneError } from '@whetstone/core/contract';
import { uncaughtFileError } from '@whetstone/core/files';
import { formatBytes, messageOf, visibleText } from '@whetstone/core/util';
import type { InstallOptions } from '../install/index.js';
import { backendInfo } from './info.js';
import { backendInstall, listDownloads } from './install.js';
import type { Output } from './output.js';

const help = `Usage: npx @whetstone/backend COMMAND

Commands:
  info            show which backend is used on this machine, and why
  install [KIND]  download a backend into the cache (KIND: cpu, cuda12, cuda13, rocm7, xla-cpu; by default cpu)

Options:
  --backend NAME  for info: what to compute on instead of auto
  --dry-run       for install: list what would be downloaded, without downloading it
  --json          print one machine-readable object last
  --version       print the version
`;

const options = {
  backend: { type: 'string', default: 'auto' },
  'dry-run': { type: 'boolean', default: false },
  json: { type: 'boolean', default: false },
  help: { type: 'boolean', short: 'h', default: false },
  version: { type: 'boolean', default: false },
} as const;

function usageError(message: string): WhetstoneError {
  return new WhetstoneError('USAGE', message, { hint: '`npx @whetstone/backend --help` lists commands and options.' });
}

function parse(parameters: readonly string[]) {
  try {
    return parseArgs({ args: [...parameters], options, allowPositionals: true });
  } catch (error) {
    throw usageError(messageOf(error));
  }
}

/** Text goes to standard error if standard output is for JSON. Otherwise a pipe or file receives it exactly. */
function createOutput(json: boolean): Output {
  return {
    line: (text) => {
      const stream = json ? process.stderr : process.stdout;
      const isExact = !json && stream.isTTY !== true;
      stream.write(`${isExact ? text : visibleText(text)}\n`);
    },
    result: (value) => {
      if (json) process.stdout.write(`${JSON.stringify(value)}\n`);
    },
  };
}

/** Writes a line when a download, a check or an unpacking starts. */
function progressLines(output: Output, signal: AbortSignal): InstallOptions {
  let current = '';
  const verbs = { download: 'Fetching', verify: 'Checking', unpack: 'Unpacking' } as const;
  return {
    signal,
    onMessage: (message) => output.line(message),
    onProgress({ stage, subject, totalBytes }) {
      const title = `${verbs[stage]} ${subject}`;
      if (title === current) return;
      current = title;
      output.line(`${title}${totalBytes === null ? '' : ` (${formatBytes(totalBytes)})`}`);
    },
  };
}

async function install(kind: string, output: Output): Promise<void> {
  const interrupt = new AbortController();
  const abort = (): void => interrupt.abort();
  // The second Ctrl-C ends the process.
  process.once('SIGINT', abort);
  try {
    await backendInstall(kind, output, progressLines(output, interrupt.signal));
  } finally {
    process.off('SIGINT', abort);
  }
}

async function run(parameters: readonly string[]): Promise<void> {
  const {
    values,
    positionals: [command, kind, ...rest],
  } = parse(parameters);
  const output = createOutput(values.json);
  if (values.version) {
    const manifest = readFileSync(new URL('../../package.json', import.meta.url), 'utf8');
    return output.line((JSON.parse(manifest) as { readonly version: string }).version);
  }
  if (values.help) return output.line(help);
  if (rest.length > 0) throw usageError(`There is an argument too many: '${rest[0]}'.`);
  if (command === 'info' && kind === undefined) return backendInfo(values.backend, output);
  if (command === 'install')
    return values['dry-run'] ? listDownloads(kind ?? 'cpu', output) : install(kind ?? 'cpu', output);
  throw usageError(
    command === undefined
      ? 'The command is missing.'
      : `Command '${command}${kind === undefined ? '' : ` ${kind}`}' not found.`,
  );
}

/**
 * Runs one command line of `npx @whetstone/backend`.
 *
 * @returns the exit code: 0 done, 1 failed, 2 bad usage, 130 interrupted
 */
export async function runBackendCommand(parameters: readonly string[]): Promise<number> {
  try {
    await run(parameters);
    return 0;
  } catch (cause) {
    const { asOutOfMemory } = await import('@whetstone/core/memory');
    const error = isWhetstoneError(cause) ? cause : uncaughtFileError(asOutOfMemory(cause));
    process.stderr.write(`${visibleText(isWhetstoneError(error) ? formatError(error) : messageOf(error))}\n`);
    if (parameters.includes('--json'))
      createOutput(true).result({
        error: isWhetstoneError(error)
          ? { code: error.code, message: error.message, expected: error.expected, found: error.found, hint: error.hint }
          : { code: 'INTERNAL', message: messageOf(error) },
      });
    return isWhetstoneError(error) ? error.exitCode : 1;
  }
}
