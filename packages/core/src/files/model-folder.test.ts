import { execFileSync } from 'node:child_process';
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { checkCompanions, copyCompanions, verifyResult, writeResultManifest } from './index.js';

let root = '';
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'whetstone-model-'));
  await mkdir(join(root, 'out'));
});
afterEach(() => rm(root, { recursive: true, force: true }));

async function write(path: string, text: string): Promise<void> {
  await mkdir(dirname(join(root, path)), { recursive: true });
  await writeFile(join(root, path), text);
}

describe('the files of a model that a result contains', () => {
  it('are copied, with the further templates; without templates if the run has its own', async () => {
    await write('base/tokenizer.json', 'tokens');
    await write('base/LICENSE', 'free');
    await write('base/chat_template.jinja', 'template');
    await write('base/additional_chat_templates/tool_use.jinja', 'tools');
    await write('base/additional_chat_templates/notes.txt', 'private');
    await write('base/secret.txt', 'private');
    await copyCompanions(join(root, 'base'), join(root, 'out'));
    const files = ['LICENSE', 'additional_chat_templates/tool_use.jinja', 'chat_template.jinja', 'tokenizer.json'];
    const copied = await readdir(join(root, 'out'), { recursive: true });
    expect(copied.filter((name) => name !== 'additional_chat_templates').toSorted()).toEqual(files);
    await rm(join(root, 'out'), { recursive: true });
    await mkdir(join(root, 'out'));
    await copyCompanions(join(root, 'base'), join(root, 'out'), { templates: false });
    expect((await readdir(join(root, 'out'))).toSorted()).toEqual(['LICENSE', 'tokenizer.json']);
  });

  it.each([
    ['a file', 'tokenizer.json'],
    ['a licence', 'LICENSE'],
    ['a template', 'additional_chat_templates/tool_use.jinja'],
  ])('are not read through a link that leaves the folder: %s', async (_, name) => {
    await write('secret/id_rsa', 'a private key');
    await write('base/config.json', '{}');
    await mkdir(dirname(join(root, 'base', name)), { recursive: true });
    await symlink(join(root, 'secret', 'id_rsa'), join(root, 'base', name));
    const refused = { code: 'FILE_UNREADABLE', place: { file: join(root, 'base', name) } };
    await expect(checkCompanions(join(root, 'base'))).rejects.toMatchObject(refused);
    await expect(copyCompanions(join(root, 'base'), join(root, 'out'))).rejects.toMatchObject(refused);
    expect(await readdir(join(root, 'out'), { recursive: true })).not.toContain(name);
  });

  it('are not read through a folder of templates that is a link', async () => {
    await write('secret/tool_use.jinja', 'private');
    await write('base/config.json', '{}');
    await symlink(join(root, 'secret'), join(root, 'base', 'additional_chat_templates'));
    await expect(copyCompanions(join(root, 'base'), join(root, 'out'))).rejects.toMatchObject({
      code: 'FILE_UNREADABLE',
    });
  });

  it('may be links within the folder, and those of a snapshot in the cache of Hugging Face', async () => {
    await write('models--x--y/blobs/0123', 'tokens');
    await mkdir(join(root, 'models--x--y/snapshots/main'), { recursive: true });
    const snapshot = join(root, 'models--x--y/snapshots/main');
    await symlink('../../blobs/0123', join(snapshot, 'tokenizer.json'));
    await symlink('tokenizer.json', join(snapshot, 'vocab.json'));
    await symlink(snapshot, join(root, 'base'));
    await copyCompanions(join(root, 'base'), join(root, 'out'));
    for (const name of ['tokenizer.json', 'vocab.json'])
      expect(await readFile(join(root, 'out', name), 'utf8')).toBe('tokens');
    // Blobs of another model are not those of this one.
    await write('models--x--z/blobs/4567', 'other');
    await symlink('../../../models--x--z/blobs/4567', join(snapshot, 'merges.txt'));
    await expect(checkCompanions(snapshot)).rejects.toMatchObject({ code: 'FILE_UNREADABLE' });
  });

  it.skipIf(process.platform === 'win32')('cannot be a FIFO', async () => {
    await mkdir(join(root, 'base'));
    execFileSync('mkfifo', [join(root, 'base', 'tokenizer.json')]);
    await expect(checkCompanions(join(root, 'base'))).rejects.toMatchObject({ found: 'a FIFO (named pipe)' });
  });

  it('must exist when they are copied', async () => {
    await expect(copyCompanions(join(root, 'base'), join(root, 'out'))).rejects.toMatchObject({
      code: 'FILE_NOT_FOUND',
    });
  });

  it.skipIf(process.platform === 'win32' || process.getuid?.() === 0)('must be readable', async () => {
    await write('base/tokenizer.json', 'tokens');
    await chmod(join(root, 'base', 'tokenizer.json'), 0);
    await expect(copyCompanions(join(root, 'base'), join(root, 'out'))).rejects.toMatchObject({
      code: 'FILE_UNREADABLE',
    });
  });
});

describe('the manifest of a result', () => {
  beforeEach(async () => {
    await write('out/config.json', '{"model_type": "llama"}');
    await write('out/model.safetensors', 'weights');
    await write('out/additional_chat_templates/tool_use.jinja', 'tools');
    await write('out/README.md', 'card');
    await writeResultManifest(join(root, 'out'));
  });

  it('finds every changed bit and every missing file', async () => {
    await verifyResult(join(root, 'out'));
    // 's' and 'r' differ in one bit.
    await write('out/model.safetensors', 'weightr');
    await expect(verifyResult(join(root, 'out'))).rejects.toMatchObject({
      code: 'FILE_CHANGED',
      problems: [
        { message: 'The contents of the file have changed.', place: { file: join(root, 'out/model.safetensors') } },
      ],
    });
    await rm(join(root, 'out/model.safetensors'));
    await write('out/additional_chat_templates/tool_use.jinja', 'longer');
    await expect(verifyResult(join(root, 'out'))).rejects.toMatchObject({
      problems: [
        { place: { file: join(root, 'out/additional_chat_templates/tool_use.jinja') } },
        { message: 'The file is missing.' },
      ],
    });
  });

  it('leaves the card to people, and may be removed', async () => {
    await write('out/README.md', 'another card');
    await verifyResult(join(root, 'out'));
    await write('out/config.json', '{}');
    await rm(join(root, 'out/manifest.json'));
    await verifyResult(join(root, 'out'));
  });

  it('is refused if it is damaged, and ignored if another program wrote it', async () => {
    const file = join(root, 'out/manifest.json');
    const text = await readFile(file, 'utf8');
    await writeFile(file, text.slice(0, 50));
    await expect(verifyResult(join(root, 'out'))).rejects.toMatchObject({ code: 'FILE_CHANGED' });
    await writeFile(file, text.replace('"version": 1', '"version": 2'));
    await expect(verifyResult(join(root, 'out'))).rejects.toMatchObject({ code: 'VERSION_UNSUPPORTED' });
    await writeFile(file, '{"name": "an extension", "files": ["a"]}');
    await verifyResult(join(root, 'out'));
  });
});
