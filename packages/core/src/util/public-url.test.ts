import { expect, it } from 'vitest';
import { publicUrl } from './public-url.js';

it('leaves no credentials in a URL', () => {
  expect(publicUrl('https://user:secret@example.com:8443/v1?key=secret#secret')).toBe('https://example.com:8443/v1');
  expect(publicUrl('http://user@localhost/v1/')).toBe('http://localhost/v1/');
  expect(publicUrl('http://user:secret@bad host/v1?key=secret')).toBe('http://bad host/v1');
  expect(publicUrl('example.com')).toBe('example.com');
});
