import { createHash, randomBytes } from 'node:crypto';
import { chmod, mkdir, mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { download } from './download.js';
import { fetchWheel } from './fetch-wheel.js';
import type { InstallProgress, Wheel } from './index.js';

const file = randomBytes(300_000);
let folder = '';
let server: Server;
let requests: (string | undefined)[] = [];
/** The server's handlers, one per request. The last handles all further requests. */
let answers: ((request: IncomingMessage, response: ServerResponse) => void)[] = [];

/** Serves the file, or the requested range. */
const serve = (request: IncomingMessage, response: ServerResponse, until = file.length): void => {
  const from = Number(/bytes=(\d+)-/.exec(request.headers.range ?? '')?.[1] ?? 0);
  if (from >= file.length) return void response.writeHead(416).end();
  response.writeHead(from > 0 ? 206 : 200, {
    'content-length': file.length - from,
    ...(from > 0 ? { 'content-range': `bytes ${from}-${file.length - 1}/${file.length}` } : {}),
  });
  if (until === file.length) return void response.end(file.subarray(from));
  response.write(file.subarray(from, until));
  breakOff = { until, response };
};

/** A connection that breaks when the client has received the bytes up to `until`. Earlier, some would be lost. */
let breakOff: { readonly until: number; readonly response: ServerResponse } | null = null;
const onBytes = (done: number): void => {
  if (done >= (breakOff?.until ?? Infinity)) breakOff?.response.destroy();
};

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'whetstone-download-'));
  requests = [];
  breakOff = null;
  answers = [serve];
  server = createServer((request, response) => {
    requests.push(request.headers.range);
    (answers.length > 1 ? answers.shift() : answers[0])?.(request, response);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
});
afterEach(async () => {
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
  await rm(folder, { recursive: true, force: true });
});

const url = (): string => `http://127.0.0.1:${(server.address() as AddressInfo).port}/files/tiny-1.0-py3-none-any.whl`;
const options = { retryDelayMilliseconds: 1, onBytes };

describe('a download', () => {
  test('resumes after a broken connection and requests only the rest', async () => {
    answers = [
      (request, response) => serve(request, response, 100_000),
      (request, response) => serve(request, response, 200_000),
      serve,
    ];
    const seen: number[] = [];
    const messages: string[] = [];
    await download(url(), join(folder, 'partial'), file.length, {
      ...options,
      onBytes(bytes) {
        seen.push(bytes);
        onBytes(bytes);
      },
      onMessage: (message) => messages.push(message),
    });
    expect(await readFile(join(folder, 'partial'))).toEqual(file);
    expect(requests).toEqual([undefined, 'bytes=100000-', 'bytes=200000-']);
    expect(seen).toEqual(seen.toSorted((a, b) => a - b));
    expect(seen.at(-1)).toBe(file.length);
    expect(messages).toHaveLength(2);
  });

  test('resumes the download of another process, or restarts if the server cannot resume', async () => {
    await writeFile(join(folder, 'partial'), file.subarray(0, 250_000));
    await download(url(), join(folder, 'partial'), file.length, options);
    expect(requests).toEqual(['bytes=250000-']);
    expect(await readFile(join(folder, 'partial'))).toEqual(file);
    await writeFile(join(folder, 'partial'), 'something else');
    answers = [(_, response) => response.writeHead(200).end(file)];
    await download(url(), join(folder, 'partial'), undefined, options);
    expect(await readFile(join(folder, 'partial'))).toEqual(file);
  });

  test('sends no request for a complete file, and restarts if the file is too long', async () => {
    await writeFile(join(folder, 'partial'), file);
    await download(url(), join(folder, 'partial'), file.length, options);
    expect(requests).toEqual([]);
    await writeFile(join(folder, 'partial'), Buffer.concat([file, file]));
    await download(url(), join(folder, 'partial'), file.length, options);
    expect(await readFile(join(folder, 'partial'))).toEqual(file);
  });

  test('fails if the server refuses or always breaks the connection, and keeps received bytes', async () => {
    answers = [(_, response) => response.writeHead(403).end('no')];
    await expect(download(url(), join(folder, 'partial'), file.length, options)).rejects.toThrow('403');
    expect(requests).toHaveLength(1);
    requests = [];
    answers = [(request, response) => serve(request, response, 1000), (_, response) => response.destroy()];
    await expect(download(url(), join(folder, 'partial'), file.length, options)).rejects.toThrow();
    expect(requests.length).toBeLessThan(8);
    expect((await readFile(join(folder, 'partial'))).length).toBe(1000);
  });
});

describe('a wheel', () => {
  const environment = { ...process.env };
  let wheel: Wheel;
  beforeEach(async () => {
    await mkdir(join(folder, 'bin'));
    // A pip that reports the file's address, as pip 22.2 and later do, but cannot download.
    await writeFile(
      join(folder, 'bin', 'python3'),
      `#!${process.execPath}
const parameters = process.argv.slice(2);
if (parameters.includes('--version')) { console.log('pip 99'); process.exit(0); }
if (parameters.includes('--report')) {
  const install = [{ download_info: { url: process.env.FAKE_URL } }];
  console.log(JSON.stringify({ version: '1', install }));
  process.exit(0);
}
console.error('ERROR: this pip downloads nothing');
process.exit(1);
`,
    );
    await chmod(join(folder, 'bin', 'python3'), 0o755);
    process.env['PATH'] = join(folder, 'bin');
    delete process.env['WHETSTONE_PYTHON'];
    process.env['FAKE_URL'] = url();
    wheel = {
      name: 'tiny',
      version: '1.0',
      fileName: 'tiny-1.0-py3-none-any.whl',
      sha256: createHash('sha256').update(file).digest('hex'),
      bytes: file.length,
      keep: /./,
    };
  });
  afterEach(() => {
    process.env = { ...environment };
  });
  const wheels = (): string => join(folder, 'wheels');

  test("is downloaded from pip's address and verified, with progress in bytes", async () => {
    const seen: InstallProgress[] = [];
    const path = await fetchWheel(wheel, wheels(), { onProgress: (progress) => seen.push(progress) });
    expect(await readFile(path)).toEqual(file);
    expect(seen.filter(({ stage }) => stage === 'download').at(-1)).toMatchObject({
      doneBytes: file.length,
      totalBytes: file.length,
    });
    expect(await readdir(wheels())).toEqual([wheel.fileName]);
  });

  test('with a wrong checksum is refused and removed, so that the next attempt restarts', async () => {
    await expect(fetchWheel({ ...wheel, sha256: '0'.repeat(64) }, wheels(), {})).rejects.toMatchObject({
      code: 'DOWNLOAD_FAILED',
      message: expect.stringContaining('checksum') as string,
    });
    expect(await readdir(wheels())).toEqual([]);
  });

  test('is downloaded again if what an earlier attempt left is damaged', async () => {
    await mkdir(wheels(), { recursive: true });
    await writeFile(join(wheels(), `${wheel.fileName}.partial`), Buffer.alloc(120_000));
    await fetchWheel(wheel, wheels(), {});
    expect(requests).toEqual(['bytes=120000-', undefined]);
    expect(await readFile(join(wheels(), wheel.fileName))).toEqual(file);
  });

  test('keeps received bytes if it is interrupted, and the next command resumes', async () => {
    answers = [
      (_, response) => {
        response.writeHead(200, { 'content-length': file.length });
        response.write(file.subarray(0, 120_000));
      },
      serve,
    ];
    const controller = new AbortController();
    const work = fetchWheel(wheel, wheels(), {
      signal: controller.signal,
      onProgress: ({ doneBytes }) => void (doneBytes >= 120_000 && setTimeout(() => controller.abort(), 100)),
    });
    await expect(work).rejects.toMatchObject({ code: 'INTERRUPTED' });
    expect(await readdir(wheels())).toEqual([`${wheel.fileName}.partial`]);
    await fetchWheel(wheel, wheels(), {});
    expect(requests.at(-1)).toBe('bytes=120000-');
    expect(await readdir(wheels())).toEqual([wheel.fileName]);
  });

  test('that the server refuses is left to pip, whose error is reported', async () => {
    answers = [(_, response) => response.writeHead(401).end()];
    await expect(fetchWheel(wheel, wheels(), {})).rejects.toMatchObject({
      code: 'DOWNLOAD_FAILED',
      found: 'this pip downloads nothing',
    });
    // A different file is not downloaded.
    requests = [];
    process.env['FAKE_URL'] = url().replace('tiny-1.0', 'tiny-2.0');
    await expect(fetchWheel(wheel, wheels(), {})).rejects.toMatchObject({ found: 'this pip downloads nothing' });
    expect(requests).toEqual([]);
  });
});
