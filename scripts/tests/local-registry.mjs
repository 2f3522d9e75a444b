import { execFile, spawn } from 'node:child_process';
import { createReadStream, existsSync, readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { basename, dirname, join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

/**
 * @typedef {{ readonly name: string; readonly version: string }} Manifest What npm reads of a `package.json`. Other
 *   fields are passed on as they are.
 *
 * @typedef {import('node:http').ServerResponse} ServerResponse
 *
 * @typedef {{ readonly manifest: Manifest; send(response: ServerResponse): void }} Release A version of a package, and
 *   how its archive is sent.
 */

/** @returns {Promise<Release>} */
async function releaseOfArchive(archive) {
  const { stdout } = await run('tar', ['-xOf', archive, 'package/package.json']);
  return {
    manifest: JSON.parse(stdout),
    send: (response) => void createReadStream(archive).pipe(response),
  };
}

/**
 * A module of `node_modules` is archived when it is asked for. npm also accepts archives that are not compressed.
 *
 * @returns {Release}
 */
function releaseOfModule(folder) {
  return {
    manifest: JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')),
    send(response) {
      const name = basename(folder);
      const tar = spawn('tar', ['-cf', '-', '-C', dirname(folder), `--exclude=${name}/node_modules`, name], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      tar.once('error', () => response.destroy());
      // A response that ends early is an error for npm; one that ends would be an archive that is cut off.
      tar.stdout.pipe(response, { end: false });
      tar.once('close', (code) => (code === 0 ? response.end() : response.destroy()));
    },
  };
}

/**
 * Releases of all third-party packages in the lock file. A package that npm left out because it is for another platform
 * has no archive; npm only reads that platform.
 *
 * @returns {Release[]}
 */
function releasesOfLock(repository) {
  const lock = JSON.parse(readFileSync(join(repository, 'package-lock.json'), 'utf8'));
  return Object.entries(lock.packages)
    .filter(([path, { link }]) => path.includes('node_modules/') && link !== true)
    .map(([path, entry]) => {
      const folder = join(repository, path);
      if (existsSync(folder)) return releaseOfModule(folder);
      const name = path.slice(path.lastIndexOf('node_modules/') + 'node_modules/'.length);
      return {
        manifest: { ...entry, name, version: entry.version ?? '' },
        send: (response) => void response.writeHead(404).end(),
      };
    });
}

/**
 * Starts an npm registry on the loopback interface. It serves packed packages and, as third-party packages, the modules
 * that are installed in the repository. npm can then install packages as a user would, without a network and with an
 * empty cache.
 *
 * @param {string} repository
 * @param {readonly string[]} archives Paths of the packed packages
 * @returns {Promise<{ readonly url: string; close(): Promise<void> }>}
 */
export async function startLocalRegistry(repository, archives) {
  const releases = [...(await Promise.all(archives.map(releaseOfArchive))), ...releasesOfLock(repository)];
  const byArchive = new Map(releases.map((release, index) => [`/-/${index}.tgz`, release]));
  const byName = new Map();
  for (const [path, release] of byArchive) {
    const { name } = release.manifest;
    byName.set(name, [...(byName.get(name) ?? []), [path, release]]);
  }

  const server = createServer((request, response) => {
    const path = decodeURIComponent(new URL(request.url ?? '/', 'http://localhost').pathname);
    const archive = byArchive.get(path);
    const versions = byName.get(path.slice(1));
    if (archive !== undefined) archive.send(response);
    else if (versions === undefined) response.writeHead(404).end('{}');
    else
      response.writeHead(200, { 'content-type': 'application/json' }).end(
        JSON.stringify({
          name: path.slice(1),
          'dist-tags': { latest: versions[0]?.[1].manifest.version },
          versions: Object.fromEntries(
            versions.map(([archivePath, { manifest }]) => [
              manifest.version,
              { ...manifest, dist: { tarball: `${url}${archivePath.slice(1)}` } },
            ]),
          ),
        }),
      );
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${server.address().port}/`;
  return {
    url,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
