/** What an installation is doing just now. */
export interface InstallProgress {
  readonly stage: 'download' | 'verify' | 'unpack';
  /** What is installed, as `tensorflow-cpu 2.21.0`. */
  readonly subject: string;
  readonly doneBytes: number;
  /** Null where it is not known beforehand. */
  readonly totalBytes: number | null;
}

/** Options of a download. */
export interface InstallOptions {
  /** Called as the download proceeds. */
  readonly onProgress?: (progress: InstallProgress) => void;
  /** Told once in plain words whenever something worth knowing happens: what is fetched, waited for or reused. */
  readonly onMessage?: (message: string) => void;
  readonly signal?: AbortSignal | undefined;
  /** Folder for everything fetched; by default `cacheFolder()`. */
  readonly cache?: string;
}
