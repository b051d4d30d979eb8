import java.io.BufferedOutputStream;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.List;

import org.apache.fluss.bucketing.BucketingFunction;
import org.apache.fluss.config.Configuration;
import org.apache.fluss.config.TableConfig;
import org.apache.fluss.metadata.DataLakeFormat;
import org.apache.fluss.metadata.Schema;
import org.apache.fluss.row.InternalRow;
import org.apache.fluss.row.decode.CompactedRowDecoder;
import org.apache.fluss.row.encode.KeyEncoder;
import org.apache.fluss.types.DataType;
import org.apache.fluss.types.RowType;
import org.apache.fluss.utils.PartitionUtils;

/**
 * Says where the published client puts rows, one line each way. A row stands for its key: all its
 * columns in their order.
 *
 * <p>Lines in: {@code schema JSON}; {@code lakes}, answered by {@code ok} or {@code no} for each
 * lake, as it takes such keys; {@code row HEX} (a COMPACTED row), answered for each lake by the bytes
 * of the key and its buckets; {@code rules HEX}, answered for each lake by the bytes of the primary
 * key, with version 1 and 2 of its format, each with the default bucket key and with another;
 * {@code partition HEX}, answered by the name of the partition. What cannot be done is {@code !}.
 */
public final class RoutingInterop {
    private static final HexFormat HEX = HexFormat.of();
    private static final DataLakeFormat[] LAKES = {
        null, DataLakeFormat.LANCE, DataLakeFormat.PAIMON, DataLakeFormat.ICEBERG
    };
    private static final int[] BUCKETS = {3, 7, 16};

    private final PrintStream out =
            new PrintStream(
                    new BufferedOutputStream(System.out, 1 << 16), false, StandardCharsets.UTF_8);
    private RowType rowType;
    private DataType[] types;
    private List<String> names;
    private KeyEncoder[] encoders;

    public static void main(String[] arguments) throws Exception {
        RoutingInterop interop = new RoutingInterop();
        BufferedReader in =
                new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            int space = line.indexOf(' ');
            String rest = space < 0 ? "" : line.substring(space + 1);
            interop.answer(space < 0 ? line : line.substring(0, space), rest);
            if (!in.ready()) {
                interop.out.flush();
            }
        }
    }

    private void answer(String word, String rest) {
        switch (word) {
            case "schema":
                Schema schema = Schema.fromJsonBytes(rest.getBytes(StandardCharsets.UTF_8));
                rowType = schema.getRowType();
                types = rowType.getChildren().toArray(new DataType[0]);
                names = rowType.getFieldNames();
                break;
            case "lakes":
                lakes();
                break;
            case "row":
                row(decoded(rest));
                break;
            case "rules":
                rules(decoded(rest));
                break;
            case "partition":
                partition(decoded(rest));
                break;
            default:
                throw new IllegalArgumentException(word);
        }
    }

    private InternalRow decoded(String hex) {
        return new CompactedRowDecoder(types).decode(HEX.parseHex(hex));
    }

    private void lakes() {
        encoders = new KeyEncoder[LAKES.length];
        List<String> answers = new ArrayList<>();
        for (int i = 0; i < LAKES.length; i++) {
            try {
                encoders[i] = KeyEncoder.ofBucketKeyEncoder(rowType, names, LAKES[i]);
                answers.add("ok");
            } catch (RuntimeException e) {
                answers.add("no");
            }
        }
        out.println("java " + Runtime.version().feature() + " " + String.join(" ", answers));
    }

    private void row(InternalRow row) {
        StringBuilder line = new StringBuilder();
        for (int i = 0; i < LAKES.length; i++) {
            line.append(i == 0 ? "" : " ").append(place(row, i));
        }
        out.println(line);
    }

    private String place(InternalRow row, int lake) {
        if (encoders[lake] == null) {
            return "!";
        }
        try {
            byte[] key = encoders[lake].encodeKey(row);
            StringBuilder place = new StringBuilder(HEX.formatHex(key));
            BucketingFunction function = BucketingFunction.of(LAKES[lake]);
            for (int buckets : BUCKETS) {
                place.append(':').append(function.bucketing(key, buckets));
            }
            return place.toString();
        } catch (RuntimeException e) {
            return "!";
        }
    }

    private void rules(InternalRow row) {
        List<String> keys = new ArrayList<>();
        for (DataLakeFormat lake : LAKES) {
            for (String version : new String[] {"1", "2"}) {
                for (boolean usual : new boolean[] {true, false}) {
                    Configuration config = new Configuration();
                    config.setString("table.kv.format-version", version);
                    if (lake != null) {
                        config.setString("table.datalake.format", lake.toString());
                    }
                    keys.add(key(row, new TableConfig(config), usual));
                }
            }
        }
        out.println(String.join(" ", keys));
    }

    private String key(InternalRow row, TableConfig config, boolean usual) {
        try {
            KeyEncoder encoder = KeyEncoder.ofPrimaryKeyEncoder(rowType, names, config, usual);
            return HEX.formatHex(encoder.encodeKey(row));
        } catch (RuntimeException e) {
            return "!";
        }
    }

    private void partition(InternalRow row) {
        List<String> values = new ArrayList<>();
        for (int i = 0; i < types.length; i++) {
            Object value = InternalRow.createFieldGetter(types[i], i).getFieldOrNull(row);
            try {
                values.add(PartitionUtils.convertValueOfType(value, types[i].getTypeRoot()));
            } catch (RuntimeException e) {
                values.add("!");
            }
        }
        out.println(String.join("$", values));
    }
}
