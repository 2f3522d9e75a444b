import { createAnonymizer, mapStrings } from '../doctor/anonymous.js';
import { backends } from '../doctor/backends.js';
import { caches } from '../doctor/caches.js';
import { lastRun, outputFolderFor } from '../doctor/last-run.js';
import { disk, memory } from '../doctor/resources.js';
import { readSection, type Section } from '../doctor/section.js';
import { versions } from '../doctor/versions.js';
import { table } from '../format.js';
import { createTerminal } from '../terminal.js';

interface DoctorOptions {
  readonly output?: string;
  readonly json?: boolean;
}

/**
 * `whetstone doctor [run]`: prints what a bug report needs, without data, contents and credentials. A section that
 * cannot be read says why.
 *
 * @returns the exit code: 1 if a problem was found that prevents training, otherwise 0
 */
export async function doctor(path: string | undefined, options: DoctorOptions): Promise<number> {
  const terminal = createTerminal(options.json === true);
  const anonymous = createAnonymizer();
  const request = { path, output: options.output };
  const readers: readonly (readonly [name: string, title: string, read: () => Promise<Section>])[] = [
    ['versions', 'Versions', versions],
    ['backend', 'Backend', backends],
    ['memory', 'Memory', memory],
    ['disk', 'Disk', () => disk(async () => (await outputFolderFor(request)) ?? process.cwd())],
    ['caches', 'Caches', caches],
    ['lastRun', 'Last run', () => lastRun(request)],
  ];
  const report: Record<string, unknown> = {};
  const problems: string[] = [];
  for (const [name, title, read] of readers) {
    const section = await readSection(read);
    report[name] = section.data;
    problems.push(...(section.problems ?? []));
    terminal.line(terminal.paint.bold(title));
    const rows = section.rows.map(([label, text]) => [`  ${label}`, anonymous(text).replaceAll('\n', ' ')]);
    terminal.line(table(rows));
    terminal.line();
  }
  for (const problem of problems) terminal.line(terminal.paint.red(anonymous(problem)));
  if (problems.length === 0) terminal.line('Nothing was found that prevents training.');
  terminal.result(mapStrings({ ...report, problems }, anonymous));
  return problems.length === 0 ? 0 : 1;
}
