echo "setting up /etc for $host"
sleep "$seconds"
mkdir -p "$out/sw"
for dep in $deps; do
  echo "linking ${dep#*-}"
  ln -s "$dep" "$out/sw/${dep#*-}"
done
echo "$host" > "$out/etc-hostname"
echo "#!/bin/sh" > "$out/activate"
chmod 555 "$out/activate"
echo "created $name"
