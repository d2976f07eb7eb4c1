/** Values of a Linux system that recipes and fleet files have in common. */
import { z } from 'zod';

export const AbsolutePath = z
  .string()
  .regex(/^\/[^\0\n]*[^/\0\n]$/, 'is not an absolute path of a file')
  .refine((path) => !path.split('/').includes('..'), 'must not have .. in it');

export const UserName = z.string().regex(/^[a-z_][a-z0-9_-]{0,31}$/, 'is not a name that useradd takes');

export const FileMode = z.string('must be in quotes, for example "0644"').regex(/^[0-7]{3,4}$/, 'is not a mode, for example "0644"');

export const FileOwner = z.string().regex(/^[a-z0-9_][a-z0-9_.-]*(:[a-z0-9_][a-z0-9_.-]*)?$/, 'is not user or user:group');

export const PasswordHash = z
  .string()
  .regex(/^\$(y|gy|7|6|5|2b)\$[A-Za-z0-9./$=,]{8,}$/, 'is not a hash of crypt(5); openssl passwd -6 makes one');

export const Locale = z.string().regex(/^[a-z]{2,3}_[A-Z]{2}\.UTF-8(@[a-z]+)?$|^C\.UTF-8$/, 'is not a locale, for example en_GB.UTF-8');

export const TimeZone = z.string().regex(/^[A-Za-z]+([A-Za-z0-9_+-]*\/)*[A-Za-z0-9_+-]*$/, 'is not a time zone, for example Europe/Berlin');

export const DomainName = z.string().regex(/^[a-z0-9_]([a-z0-9_-]{0,62})(\.[a-z0-9_]([a-z0-9_-]{0,62}))*$/, 'is not a domain name');
