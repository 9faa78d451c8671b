import { Client } from "pg";

export const dynamic = "force-dynamic";

// Asks the preview's own database who we are there.
async function whoAmI() {
  if (!process.env.DATABASE_URL) return "no database";
  const client = new Client({ connectionString: process.env.DATABASE_URL, connectionTimeoutMillis: 3000 });
  try {
    await client.connect();
    const { rows } = await client.query("SELECT current_user AS role, current_database() AS name");
    return `role ${rows[0].role} in database ${rows[0].name}`;
  } catch (error) {
    return `database unavailable: ${error.message}`;
  } finally {
    await client.end().catch(() => {});
  }
}

export default async function Home() {
  return (
    <main>
      <h1>Project {process.env.PROJECT_ID}</h1>
      <p id="database">{await whoAmI()}</p>
    </main>
  );
}
