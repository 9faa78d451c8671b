export const metadata = { title: "Hello from a kosuke preview" };

export default function Layout({ children }) {
  return (
    <html lang="en">
      <body>{children}</body>
    </html>
  );
}
