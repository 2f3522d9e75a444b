import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { isRecord, messageOf } from '@whetstone/core/util';
import { isReason, orReason, type Section } from './section.js';

const TIMEOUT_MILLISECONDS = 120_000;
const MARK = 'whetstone-doctor:';

/** Script of a separate process that starts the backend of `auto`, because loading a library may end the process. */
const probe = `
const { resolveBackend } = await import(process.argv[1]);
let result;
try {
  const { backend, engine, reason, gpu } = await resolveBackend({ name: 'auto', threads: null });
  result = { backend, engine, reason, gpu };
} catch (error) {
  result = { error: String(error) };
}
process.stdout.write('\\n${MARK}' + JSON.stringify(result) + '\\n');
`;

interface Choice {
  readonly backend: string;
  readonly engine: string;
  readonly reason: string;
  readonly gpu: string | null;
}

/** Returns the backend that `auto` chooses. @throws `Error` with the reason if none starts */
async function chooseBackend(): Promise<Choice> {
  const parameters = ['--input-type=module', '--eval', probe, import.meta.resolve('@whetstone/backend')];
  const failed = (error: unknown): { readonly stdout: string; readonly failure: string } => {
    const { signal, code, stdout } = error as { readonly signal?: string; readonly code?: unknown; stdout?: string };
    const failure =
      typeof signal === 'string' ? `was ended by ${signal}` : `ended with exit code ${String(code ?? 'unknown')}`;
    return { stdout: stdout ?? '', failure };
  };
  const { stdout, failure } = await promisify(execFile)(process.execPath, parameters, {
    timeout: TIMEOUT_MILLISECONDS,
    killSignal: 'SIGKILL',
    maxBuffer: 1 << 26,
    windowsHide: true,
  }).then((result) => ({ stdout: result.stdout, failure: null }), failed);
  const line = stdout.split('\n').find((each) => each.startsWith(MARK));
  if (line === undefined) throw new Error(`A process that starts the backend ${failure ?? 'reported nothing'}.`);
  const result: unknown = JSON.parse(line.slice(MARK.length));
  if (isReason(result)) throw new Error(result.error);
  if (!isRecord(result)) throw new Error('A process that starts the backend reported nothing.');
  return result as unknown as Choice;
}

interface Library {
  readonly version: string | null;
  readonly source: string;
  readonly path: string;
}

/** Returns a library that was found. @throws `Error` with the reasons if none was */
function found(
  library: { readonly reasons: readonly string[] } | { readonly version: string | null; readonly source: string },
  path: string,
): Library {
  if ('reasons' in library) throw new Error(library.reasons.join('; '));
  return { version: library.version, source: library.source, path };
}

/** The backend that `auto` chooses with its reason, and the native libraries that were found. */
export async function backends(): Promise<Section> {
  const chosen = await orReason(chooseBackend);
  const tensorflow = await orReason(async () => {
    const { findTensorflow } = await import('@whetstone/backend/install');
    const library = await findTensorflow();
    return found(library, 'folder' in library ? library.folder : '');
  });
  const xla = await orReason(async () => {
    const { findXlaPlugin } = await import('@whetstone/backend/install');
    const library = await findXlaPlugin();
    return found(library, 'path' in library ? library.path : '');
  });
  const shown = (library: Library | { readonly error: string }): string =>
    isReason(library)
      ? `none: ${library.error}`
      : `${library.version ?? 'unknown version'} from the ${library.source}, ${library.path}`;
  return {
    data: { auto: chosen, tensorflow, xla },
    rows: [
      ['auto', isReason(chosen) ? `none: ${chosen.error}` : `${chosen.backend}, engine ${chosen.engine}`],
      ...(isReason(chosen) ? [] : [['reason', chosen.reason] as const]),
      ['libtensorflow', shown(tensorflow)],
      ['PJRT plugin', shown(xla)],
    ],
    problems: isReason(chosen) ? [`No tensor backend starts: ${messageOf(chosen.error).split('\n')[0] ?? ''}`] : [],
  };
}
