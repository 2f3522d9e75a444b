import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { folderCheckpoints } from '@whetstone/core/checkpoint';
import { writeCheckpointManifest } from '../../packages/core/src/checkpoint/manifest.js';
import { withFault } from '../support/faulty-files.js';
import {
  checkWritable,
  cleanFolder,
  temporaryName,
  writeAtomically,
  writeFolder,
  writeText,
} from '@whetstone/core/files';

let root = '';
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'whetstone-folder-'));
});
afterEach(() => rm(root, { recursive: true, force: true }));

const write = (text: string): Promise<void> =>
  writeFolder(join(root, 'result'), async (temporary) => {
    await mkdir(join(temporary, 'inner'));
    await writeFile(join(temporary, 'inner', 'file'), text);
  });
const textOf = (): Promise<string> => readFile(join(root, 'result', 'inner', 'file'), 'utf8');

describe('a folder that is written again', () => {
  it('is the old or the new one after a kill at any operation, once the folder around it is cleaned', async () => {
    for (let at = 0; ; at++) {
      await rm(join(root, 'result'), { recursive: true, force: true });
      await write('old');
      const { failed } = await withFault(root, { kind: 'kill', at }, () => write('new'));
      await cleanFolder(root);
      expect(await readdir(root), `after ${failed}`).toEqual(['result']);
      const text = await textOf();
      expect(['old', 'new'], `after ${failed}`).toContain(text);
      if (failed !== null) continue;
      expect(text).toBe('new');
      expect(at).toBeGreaterThan(8);
      return;
    }
  });

  it('is a checkpoint that a resume finds whole after a kill at any operation, repaired or not', async () => {
    const save = (text: string): Promise<void> =>
      writeFolder(join(root, 'checkpoint-2'), async (temporary) => {
        await writeFile(join(temporary, 'weights'), text);
        await writeCheckpointManifest(temporary, 2);
      });
    const find = () => folderCheckpoints.find(true, root, (warning) => expect.unreachable(warning));
    await save('old');
    let failed: string | null = '';
    for (let at = 0; failed !== null; at++) {
      ({ failed } = await withFault(root, { kind: 'kill', at }, () => save('new')));
      expect(await find(), `after ${failed}`).not.toBeNull();
      await folderCheckpoints.clean(root);
      expect(await find(), `after ${failed}`).toBe(join(root, 'checkpoint-2'));
    }
    expect(await readFile(join(root, 'checkpoint-2', 'weights'), 'utf8')).toBe('new');
  });

  it('is the old or the new one after an error at any operation, without temporary files', async () => {
    for (let at = 0; ; at++) {
      await rm(join(root, 'result'), { recursive: true, force: true });
      await write('old');
      const { failed, result } = await withFault(root, { kind: 'EIO', at }, () => write('new'));
      if (failed === null) break;
      expect(result, failed).toMatchObject({ error: { name: 'WhetstoneError' } });
      await cleanFolder(root);
      expect(await readdir(root), failed).toEqual(['result']);
      expect(['old', 'new'], failed).toContain(await textOf());
    }
  });

  it('syncs every file and folder before it gets its name, and its parent after that', async () => {
    const seen: string[] = [];
    await writeFolder(join(root, 'result'), async (temporary) => {
      await writeFile(join(temporary, 'one'), '1');
      await mkdir(join(temporary, 'inner'));
      await writeFile(join(temporary, 'inner', 'two'), '2');
    });
    for (let at = 0; ; at++) {
      const { failed } = await withFault(root, { kind: 'EIO', at }, () => write('new'));
      if (failed === null) break;
      seen.push(failed.replace(/\/\.result\.[^/ ]+\.(partial|replaced)/g, '/T').replace(/^handle\./, ''));
    }
    const at = (operation: string): number => seen.indexOf(operation);
    const renamed = seen.findLastIndex((operation) => operation.startsWith('rename'));
    for (const synced of ['sync /T/inner/file', 'sync /T/inner', 'sync /T']) {
      expect(at(synced), seen.join('\n')).toBeGreaterThan(-1);
      expect(at(synced), synced).toBeLessThan(renamed);
    }
    expect(seen.lastIndexOf('sync ')).toBeGreaterThan(renamed);
  });
});

describe('cleaning a folder', () => {
  it('removes temporary files and folders, also those of earlier versions, and nothing else', async () => {
    const { pid } = spawnSync(process.execPath, ['--version']);
    const dead = (name: string): string => temporaryName(join(root, name)).replace(`-${process.pid}-`, `-${pid}-`);
    for (const name of ['merged', 'hand-over', 'checkpoint-3']) await mkdir(dead(name));
    await writeFile(dead('stages.json'), '');
    await mkdir(join(root, '.checkpoint-5.0123456789ab.partial'));
    const kept = ['.gitignore', '.video.partial', 'notes.partial', 'checkpoint-4'];
    for (const name of kept) await writeFile(join(root, name), '');
    await cleanFolder(root);
    expect((await readdir(root)).toSorted()).toEqual(kept.toSorted());
  });

  it('does not touch what another process is writing', async () => {
    const name = temporaryName(join(root, 'merged'));
    const [, start = ''] = new RegExp(`-${process.pid}-([0-9a-f]{6})-`).exec(name) ?? [];
    const nameOf = (other: string): string => name.replace(`-${process.pid}-${start}-`, `-${process.ppid}-${other}`);
    // Without a start, as earlier versions wrote it; with an unknown start; with the start of this process.
    const [unmarked, unknown, reused] = [nameOf(''), nameOf('000000-'), nameOf(`${start}-`)];
    for (const one of [unmarked, unknown, reused]) await mkdir(one);
    await cleanFolder(root);
    expect([unmarked, unknown].map(existsSync)).toEqual([true, true]);
    // Another process has the id of the one that wrote it.
    expect(existsSync(reused)).toBe(process.platform !== 'linux');
  });

  it('restores a folder that was being replaced, unless the new one has its name', async () => {
    await write('old');
    await rename(join(root, 'result'), temporaryName(join(root, 'result'), 'replaced'));
    await cleanFolder(root);
    expect(await textOf()).toBe('old');
    await mkdir(temporaryName(join(root, 'result'), 'replaced'));
    await cleanFolder(root);
    expect(await readdir(root)).toEqual(['result']);
  });
});

it('a file is synced before it is renamed, and its folder after that', async () => {
  const seen: string[] = [];
  for (let at = 0; ; at++) {
    const { failed } = await withFault(root, { kind: 'EIO', at }, () => writeText(join(root, 'file'), 'text'));
    if (failed === null) break;
    seen.push(failed.split(' ')[0] ?? '');
  }
  expect(seen.filter((name) => /sync|rename/.test(name))).toEqual(['handle.sync', 'rename', 'handle.sync']);
});

it('writing a file removes what killed writers of the same file left', async () => {
  const { pid } = spawnSync(process.execPath, ['--version']);
  await writeFile(temporaryName(join(root, 'fisher.safetensors')).replace(`-${process.pid}-`, `-${pid}-`), 'half');
  await writeAtomically(join(root, 'fisher.safetensors'), async () => undefined);
  expect(await readdir(root)).toEqual(['fisher.safetensors']);
});

it.skipIf(process.platform !== 'linux')(
  'a folder in which nothing can be written is refused, and nothing is left',
  async () => {
    await checkWritable(join(root, 'a', 'b'));
    expect(await readdir(root)).toEqual([]);
    await expect(checkWritable('/proc/whetstone/run')).rejects.toMatchObject({ name: 'WhetstoneError' });
    await writeFile(join(root, 'file'), '');
    await expect(checkWritable(join(root, 'file', 'run'))).rejects.toMatchObject({ name: 'WhetstoneError' });
    const { result } = await withFault(root, { kind: 'EACCES', at: 1 }, () => checkWritable(root));
    expect(result).toMatchObject({ error: { code: 'FILE_UNWRITABLE', place: { file: root } } });
  },
);
